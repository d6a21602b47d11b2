"""What README and docs tell a user to type is taken: every body by its schema, every command line by its command."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from service.cli import app
from service.schemas.collections import CollectionCreate
from service.schemas.evaluations import EvaluationCreate
from service.schemas.jobs import JobCreate
from service.schemas.mining import MiningCreate
from service.schemas.strict import Request

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
