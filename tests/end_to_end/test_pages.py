"""Every page of the documentation that a user may follow, run as it is printed against one live service."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infonce.hub import MINILM, Hub
from tests.end_to_end.pages import ROOT, script_of
from tests.end_to_end.processes import COMMANDS, Processes, answers, free_port

PAGES = ("from-sentence-transformers", "training", "index", "openai", "cli", "collections", "deployment", "webhooks")
ELSEWHERE = {
    "losses": "tests/infonce/test_plots.py runs it",
    "data-and-evaluation": "its trainings take minutes; tests/service/test_documented.py reads each command and body",
}
"""Pages with blocks that are not run here."""
BASE_URL = "http://127.0.0.1:8000"
SECONDS = 180.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one service for all pages answers."""
    port = free_port()
    with Processes(tmp_path_factory.mktemp("service")) as processes:
        command = ["infonce", "serve", "--home", "home", "--port", str(port)]
        processes.start("serve", command, environment={"INFONCE_WEBHOOK_ALLOW_PRIVATE": "1"})
        url = f"http://127.0.0.1:{port}"
        processes.wait_for("serve", lambda: answers(f"{url}/readyz"))
        yield url


def test_no_page_with_blocks_is_forgotten() -> None:
    runnable = {path.stem for path in (ROOT / "docs").glob("*.md") if script_of(path.read_text("utf-8")).strip()}
    assert runnable == {*PAGES, *ELSEWHERE}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_works_as_it_is_printed(page: str, service: str, tmp_path: Path) -> None:
    script = script_of((ROOT / f"docs/{page}.md").read_text("utf-8")).replace(BASE_URL, service)
    folder = Hub.from_env({}).resolve(MINILM).path  # sentence-transformers would fetch what it does not have
    script = script.replace(f'SentenceTransformer("{MINILM}")', f'SentenceTransformer("{folder}")')
    script = script.replace("https://ci.example.com/infonce", "http://127.0.0.1:9/infonce")
    environment = {
        "PATH": os.pathsep.join((str(COMMANDS), os.environ.get("PATH", os.defpath))),
        "HOME": str(tmp_path),
        "INFONCE_URL": service,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
