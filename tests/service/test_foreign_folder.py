"""Where a user stands does not matter: a project of their own with packages of our names is never imported."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.processes import until

INFONCE = Path(sys.executable).with_name("infonce")


def test_serve_starts_in_a_folder_that_holds_other_packages_of_these_names(tmp_path: Path) -> None:
    for name in ("infonce", "service", "worker", "celeryconfig"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user project was imported')")
    output = tmp_path / "output.txt"
    with output.open("w") as out:
        command = [INFONCE, "serve", "--home", "home", "--port", "0"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT)
    try:
        until(lambda: process.poll() is not None or "listens on" in output.read_text(), "the stack")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "home" / "infonce.db").is_file()
