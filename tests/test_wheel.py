"""What is installed from the wheel works without the checkout."""

import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("infonce", "service", "worker", "pyproject.toml", "README.md", "LICENSE")


def run(command: Sequence[str | Path], folder: Path) -> str:
    """The command's output; its errors are the test's message."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with our wheel in it; it sees the dependencies of this one, not our checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: a stale build/ in the checkout would put deleted files into the wheel
    source.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    run([*pip, "wheel", *offline, "--wheel-dir", folder, source], folder)
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    (wheel,) = folder.glob("*.whl")
    run([*pip, "--python", folder / "venv/bin/python", "install", "--no-deps", "--no-index", wheel], folder)
    # Only now, so that pip does not see the checkout's own installation. A path named in a .pth file is searched, but
    # .pth files inside it are not read: the editable finder stays out.
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv/bin"


def test_the_command_explains_itself(installed: Path, tmp_path: Path) -> None:
    assert "serve" in run([installed / "infonce", "--help"], tmp_path)


def test_the_packages_come_from_the_wheel_with_their_types(installed: Path, tmp_path: Path) -> None:
    code = (
        "import pathlib, infonce, service, worker\n"
        "for package in (infonce, service, worker):\n"
        "    home = pathlib.Path(package.__file__).parent\n"
        "    print(home, (home / 'py.typed').is_file())"
    )
    for line in run([installed / "python", "-c", code], tmp_path).splitlines():
        home, is_typed = line.rsplit(" ", 1)
        assert Path(home).is_relative_to(installed.parent) and is_typed == "True", line


def test_the_migrations_are_inside_and_run(installed: Path, tmp_path: Path) -> None:
    environment = {
        "INFONCE_DATABASE_URL": f"sqlite:///{tmp_path}/infonce.db",
        "INFONCE_BROKER_URL": "redis://127.0.0.1:1/0",
        "INFONCE_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    run(["env", *settings, installed / "infonce", "migrate"], tmp_path)
    with closing(sqlite3.connect(tmp_path / "infonce.db")) as database:
        (version,) = database.execute("select version_num from alembic_version").fetchone()
    assert list(installed.parent.glob(f"lib/*/site-packages/service/store/migrations/versions/{version}*.py"))


def test_a_report_becomes_a_page_and_its_template_is_inside(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"model": "acme/tiny", "curve": []}')
    run([installed / "infonce", "report", tmp_path / "report.json", "--html", tmp_path / "page.html"], tmp_path)
    assert "acme/tiny" in (tmp_path / "page.html").read_text()
