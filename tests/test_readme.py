"""The README keeps its word: its commands are the promised ones, and its file tree is the real one."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
DEMO = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[demo]' && .venv/bin/infonce demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[demo,test]' && .venv/bin/pytest"


def blocks(language: str) -> list[str]:
    """The fenced code blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def tree() -> set[str]:
    """The paths of the README's file tree; a folder ends with a slash."""
    paths, folder = set(), ""
    for line in blocks("text")[-1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folder = "/".join(folder.split("/")[:depth])
        path = f"{folder}/{name}" if folder else name
        paths.add(path)
        folder = path.rstrip("/") if name.endswith("/") else folder
    return paths


def files() -> set[str]:
    """Every file that is or will be committed."""
    trusted = ["-c", "safe.directory=*"]  # a checkout may belong to another user than the one who tests it
    command = ["git", *trusted, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {path for path in listed if (ROOT / path).is_file()}


def is_worth_a_line(path: str) -> bool:
    """Markers say nothing; the tests mirror the source, so that a line a folder is enough."""
    is_marker = path.endswith(("py.typed", "/__init__.py")) and path != "infonce/__init__.py"
    return not is_marker and not re.match(r"(tests|docs)/.+/", path)


def test_the_two_commands_stand_on_top_as_promised() -> None:
    assert blocks("sh")[0].splitlines() == [DEMO, TEST]
    assert README.index(DEMO) < 2_000
    assert f"```sh\n{DEMO}\n```" in (ROOT / "docs/index.md").read_text("utf-8")


def test_ci_runs_the_second_command_as_it_stands() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    extraction = re.search(r"line=\$\((sed .*)\)\n", script)
    assert extraction, "the line is taken from README.md by sed"
    found = subprocess.run(["bash", "-c", extraction[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [TEST]
    assert re.search(r'bash -euo pipefail -c "\$line"$', script, re.MULTILINE)


def test_the_tree_names_every_file_and_no_other() -> None:
    named = {path for path in tree() if not path.endswith("/")}
    wanted = {path for path in files() if is_worth_a_line(path)}
    assert named == wanted, f"not in the tree: {sorted(wanted - named)}; no such file: {sorted(named - wanted)}"


def test_the_folders_of_the_tree_exist() -> None:
    folders = {path for path in tree() if path.endswith("/")}
    assert {path for path in folders if not (ROOT / path).is_dir()} == set()
    assert folders >= {
        f"{path.relative_to(ROOT)}/" for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))
    }


def test_every_line_of_the_tree_says_something() -> None:
    assert [line for line in blocks("text")[-1].splitlines() if len(line.split()) < 2] == []


def test_every_setting_of_the_environment_is_explained() -> None:
    sources = [
        path.read_text("utf-8")
        for package in ("infonce", "service", "worker")
        for path in (ROOT / package).rglob("*.py")
    ]
    read = set(re.findall(r'"(INFONCE_[A-Z_]+)"', "\n".join(sources)))
    explained = set(re.findall(r"^\| `(INFONCE_[A-Z_]+)`", README, re.MULTILINE))
    assert read == explained, f"not explained: {sorted(read - explained)}; not read: {sorted(explained - read)}"
