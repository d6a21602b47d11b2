"""Every page of the documentation that a user may follow, run as it is printed against one live service."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from infonce.hub import MINILM, Hub
from tests.end_to_end.pages import ROOT, script_of
from tests.end_to_end.processes import COMMANDS, Processes, answers, free_port

PAGES = ("from-sentence-transformers", "training", "index", "openai", "cli", "collections", "deployment", "webhooks")
NARROWED = "data-and-evaluation"
"""Its trainings would take minutes; here a model that is small enough bears the name of MiniLM."""
ELSEWHERE = {"losses": "tests/infonce/test_plots.py runs it"}
"""Pages with blocks that are not run here."""
BASE_URL = "http://127.0.0.1:8000"
SECONDS = 180.0
SECONDS_OF_NARROWED = 240.0  # seven commands and five jobs: 136 s alone, 170 s beside the other tests


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one service for all pages answers."""
    with serving(tmp_path_factory.mktemp("service"), {"INFONCE_WEBHOOK_ALLOW_PRIVATE": "1"}) as url:
        yield url


@contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    with Processes(folder) as processes:
        command = ["infonce", "serve", "--home", "home", "--port", str(port)]
        processes.start("serve", command, environment=environment)
        url = f"http://127.0.0.1:{port}"
        processes.wait_for("serve", lambda: answers(f"{url}/readyz"))
        yield url


def test_no_page_with_blocks_is_forgotten() -> None:
    runnable = {path.stem for path in (ROOT / "docs").glob("*.md") if script_of(path.read_text("utf-8")).strip()}
    assert runnable == {*PAGES, NARROWED, *ELSEWHERE}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_works_as_it_is_printed(page: str, service: str, tmp_path: Path) -> None:
    run(page, service, tmp_path, {})


def test_the_page_of_data_works_as_it_is_printed(tmp_path: Path) -> None:
    environment = {"INFONCE_MODELS": str(tmp_path / "models")}
    narrowed(tmp_path / "models" / MINILM)
    (tmp_path / "service").mkdir()
    with serving(tmp_path / "service", environment) as url:
        run(NARROWED, url, tmp_path, environment)


def narrowed(folder: Path) -> None:
    """MiniLM's words in 64 of their 384 dimensions below one layer: fast, and some texts are nearer than others."""
    whole = Hub.from_env({}).resolve(MINILM).path
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    model = BertModel(BertConfig.from_pretrained(str(whole), **sizes))
    words = BertModel.from_pretrained(str(whole)).embeddings.word_embeddings.weight
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.copy_(words[:, :64])
    model.save_pretrained(str(folder))
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"word_embedding_dimension": 64}))


def run(page: str, service: str, folder: Path, environment: dict[str, str]) -> None:
    """The page's script ends well; the page speaks to this service."""
    script = script_of((ROOT / f"docs/{page}.md").read_text("utf-8")).replace(BASE_URL, service)
    model = Hub.from_env({}).resolve(MINILM).path  # sentence-transformers would fetch what it does not have
    script = script.replace(f'SentenceTransformer("{MINILM}")', f'SentenceTransformer("{model}")')
    script = script.replace("https://ci.example.com/infonce", "http://127.0.0.1:9/infonce")
    environment = {
        "PATH": os.pathsep.join((str(COMMANDS), os.environ.get("PATH", os.defpath))),
        "HOME": str(folder),
        "INFONCE_URL": service,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        **environment,
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_OF_NARROWED if page == NARROWED else SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
