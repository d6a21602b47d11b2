"""What README and docs tell a user to type is taken: every body by its schema, every command line by its command."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from service.cli import app
from service.schemas.collections import CollectionCreate
from service.schemas.evaluations import EvaluationCreate
from service.schemas.jobs import JobCreate
from service.schemas.mining import MiningCreate
from service.schemas.strict import Request
from service.store import jobs
from service.store.records import JobKind
from tests.service.conftest import Gateway, problem

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
RUN_OR_READ = {"python", "bash", "console", "sh", "json", "py"}
"""`python`, `bash` and `console` are run by tests/end_to_end (the README's consoles are read here), `sh` and `json` are
read here, `py` needs other projects' packages: tests/outside/frameworks.py runs it."""
SHOWN = {"text", "ini"}
"""What something prints, and a unit of systemd."""
BODIES: dict[str, type[Request]] = {
    "fine_tuning/jobs": JobCreate,
    "fine_tuning/jobs/estimate": JobCreate,
    "mining": MiningCreate,
    "evaluations": EvaluationCreate,
    "collections": CollectionCreate,
}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def posted() -> list[tuple[str, str]]:
    """Route and body of each POST in the pages, as a shell would read them."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            curl = re.findall(r"\$api/(\S+) -H '[^']*' (?:\\\n *)?-d ('.*?')(?=\)| \||\n|$)", block, re.DOTALL)
            post = re.findall(r"\bpost (\S+) ('.*?')(?=\)| \|)", block, re.DOTALL)
            found += [(route, shlex.split(body)[0]) for route, body in curl + post]
    return [(route, body) for route, body in found if route in BODIES]


def typed() -> list[str]:
    """The lines of consoles that begin with our command, those that go on in the next line joined."""
    shown = [block for page in PAGES for block in (*blocks(page, "console"), *blocks(page, "sh"))]
    lines = [line.removeprefix("$ ") for block in shown for line in re.sub(r"\\\n *", "", block).splitlines()]
    return [line for line in lines if re.match(r"(\.venv/bin/)?infonce ", line)]


def test_no_block_is_of_a_language_that_nobody_reads() -> None:
    found = [
        language
        for page in PAGES
        if page != "docs/log.md"  # measurements, no instructions
        for language in re.findall(r"^```(\w*)\n.*?^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ]
    assert set(found) == RUN_OR_READ | SHOWN


def test_a_line_of_a_shell_is_our_command_or_one_of_the_two_on_top_of_the_readme() -> None:
    on_top = blocks("README.md", "sh")[0].splitlines()
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    assert [line for line in lines if not line.startswith(("infonce ", "export INFONCE_")) and line not in on_top] == []


def test_other_projects_classes_are_told_to_send_texts_and_to_take_any_name() -> None:
    langchain, llama_index = blocks("docs/openai.md", "py")
    assert "check_embedding_ctx_length=False" in langchain and "model_name=" in llama_index
    for block in (langchain, llama_index):
        compile(block, "docs/openai.md", "exec")


def test_there_are_bodies_and_commands() -> None:
    assert {route for route, _ in posted()} == {*BODIES}
    assert len(typed()) >= 15


@pytest.mark.parametrize(("route", "body"), posted())
def test_a_body_of_the_pages_is_one_that_the_route_takes(route: str, body: str) -> None:
    BODIES[route].model_validate_json(body)


def test_a_part_of_a_body_is_one_of_a_training() -> None:
    parts = [json.loads(block) for page in PAGES for block in blocks(page, "json")]
    for part in parts:
        method = part if "method" in part else {"method": {"contrastive": part}}
        JobCreate.model_validate_json(json.dumps({"model": "m", "training_file": "f", **method}))
    assert len(parts) >= 4


@pytest.mark.parametrize("line", typed())
def test_a_command_line_of_the_pages_is_one_that_its_command_takes(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    while isinstance(command, TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


def words(page: str, *, begin: str, end: str) -> set[str]:
    """What stands in backticks between these two sayings of the page."""
    text = " ".join((ROOT / page).read_text("utf-8").split())
    return set(re.findall(r"`([a-z_]+)`", text.partition(begin)[2].partition(end)[0]))


def test_the_kinds_of_jobs_are_those_that_the_page_names(gateway: Gateway) -> None:
    named = words("docs/api.md", begin="Jobs are of the kinds", end=".")
    assert named == set(JobKind)
    for kind in named:
        assert gateway.http.get("/v1/jobs", params={"kind": kind}).status_code == 200
    problem(gateway.http.get("/v1/jobs", params={"kind": "import"}), 422, "invalid_value")


def test_what_stays_auto_until_the_worker_has_measured_is_what_the_page_names(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    measured = words("docs/api.md", begin="each `auto` that file and model decide.", end="stay")
    kept = words("docs/api.md", begin="what they became;", end="are words")
    assert autos(gateway, id) == measured | kept and kept and measured
    with gateway.parts.database.write() as tx:
        job = jobs.claim(tx, "train", owner="me", now=gateway.parts.clock())
        assert job is not None
        resolved = {"precision": "bf16", "max_chunk_tokens": 2048, "pooling": "mean"}
        jobs.heartbeat(tx, id, attempt=job.attempt, now=gateway.parts.clock(), update={"resolved": resolved})
    assert autos(gateway, id) == kept


def autos(gateway: Gateway, id: str) -> set[str]:
    """The settings that the job's answer calls `auto`."""

    def found(node: dict[str, Any]) -> set[str]:
        inner = {name for value in node.values() if isinstance(value, dict) for name in found(value)}
        return inner | {name for name, value in node.items() if value == "auto"}

    return found(gateway.http.get(f"/v1/fine_tuning/jobs/{id}").json())
