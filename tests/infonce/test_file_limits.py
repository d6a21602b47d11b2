"""How long a text may be can be said once, for gateway, worker and command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infonce.errors import ConfigError
from infonce.file_limits import DEFAULT_LIMITS, FileLimits
from service.schemas.strict import MAX_DOCUMENT_CHARACTERS, MAX_TEXT_CHARACTERS


def test_without_a_word_the_usual_limits_hold() -> None:
    assert FileLimits.from_env({}) == FileLimits() == FileLimits.from_env({"INFONCE_MAX_TEXT_CHARACTERS": ""})
    assert (
        DEFAULT_LIMITS.max_text_characters,
        DEFAULT_LIMITS.max_document_characters,
    ) == (MAX_TEXT_CHARACTERS, MAX_DOCUMENT_CHARACTERS)


def test_lines_grow_with_the_texts_and_never_shrink() -> None:
    long = FileLimits.from_env({"INFONCE_MAX_TEXT_CHARACTERS": "100000", "INFONCE_MAX_DOCUMENT_CHARACTERS": "1000000"})
    assert (long.max_text_characters, long.max_document_characters) == (100_000, 1_000_000)
    assert long.max_line_bytes >= 12 * 100_000 and long.max_document_line_bytes >= 12 * 1_000_000
    short = FileLimits.from_env({"INFONCE_MAX_TEXT_CHARACTERS": "5"})
    assert (short.max_text_characters, short.max_line_bytes) == (5, FileLimits().max_line_bytes)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "1048577", "\u0662"])
def test_a_wrong_value_is_named_with_the_limits(value: str) -> None:
    with pytest.raises(ConfigError, match=r"INFONCE_MAX_TEXT_CHARACTERS is .*1048576"):
        FileLimits.from_env({"INFONCE_MAX_TEXT_CHARACTERS": value})


@pytest.mark.parametrize(
    ("value", "told"), [("10", "the limit is 10"), ("ten", "INFONCE_MAX_TEXT_CHARACTERS is 'ten'")]
)
def test_the_command_line_heeds_it(tmp_path: Path, value: str, told: str) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"anchor": "eleven chars", "positive": "short"}\n')
    command = [sys.executable, "-m", "service.cli", "audit", "pairs.jsonl"]
    environment = os.environ | {"INFONCE_MAX_TEXT_CHARACTERS": value}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr
