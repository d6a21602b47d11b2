"""The documentation is a site: it builds without a warning, every page has its place, and all of it is its own."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.processes import COMMANDS

ROOT = Path(__file__).parents[1]
LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\bsrc=[\"']?(https?:)?//|<link[^>]*\bhref=[\"']?(https?:)?//[^>]*stylesheet"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [COMMANDS / "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_has_its_place() -> None:
    places = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert places == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    assert [path.name for path in pages if LOADED.search(path.read_text("utf-8"))] == []


def test_every_route_and_decision_is_there_and_formulas_are_drawn(site: Path) -> None:
    frozen = json.loads((ROOT / "tests/service/openapi.json").read_text("utf-8"))
    reference = (site / "api.html").read_text("utf-8")
    assert [path for path in frozen["paths"] if f" {path}</code>" not in reference] == []
    decisions = [path.stem for path in (ROOT / "docs/decisions").glob("*.md")]
    assert [name for name in decisions if f"decisions/{name}.html" not in reference] == []
    losses = (site / "losses.html").read_text("utf-8")
    assert losses.count("<math") > 5 and "$$" not in losses
