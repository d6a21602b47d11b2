"""The README's curl walk, run as it is printed against a live service with the real model."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.processes import Processes, answers, free_port

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
BASE_URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the walk prints, its blocks run as one script against `infonce serve`."""
    folder = tmp_path_factory.mktemp("readme")
    port = free_port()
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    assert BASE_URL in script
    with Processes(folder) as processes:
        processes.start("serve", ["infonce", "serve", "--home", "home", "--port", str(port)], environment={})
        processes.wait_for("serve", lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        script = script.replace(BASE_URL, f"http://127.0.0.1:{port}")
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{processes.log('serve').read_text()}"
    return done.stdout


def test_the_walk_finds_the_document_that_answers(walk: str) -> None:
    answer = walk[walk.index("collection.query") :]
    assert answer.index('"bisect"') < answer.index('"object":"list"')


def test_the_walk_ends_with_a_vector(walk: str) -> None:
    assert re.search(r'"embedding":\s*"[A-Za-z0-9+/=]{2000,}"', walk)
