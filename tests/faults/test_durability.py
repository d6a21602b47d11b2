"""The page of promises leaves no row out and names only tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "durability.md").read_text()
NAMED = re.findall(r"(?<!TODO\(lead\) )`(tests/[\w/]+\.py)::(\w+)`", PAGE)
ROWS = {"P": 10, "F": 43, "H": 52}
"""How many promises, faults and hostile inputs there are."""


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_is_named_exists(path: str) -> None:
    text = (ROOT / path).read_text()
    missing = [name for file, name in NAMED if file == path and f"def {name}(" not in text]
    assert not missing, f"docs/durability.md names {missing}, which {path} does not have; correct the page"


@pytest.mark.parametrize("letter", ROWS)
def test_no_row_is_left_out(letter: str) -> None:
    told = {int(number) for number in re.findall(rf"^\| {letter}(\d+) \|", PAGE, re.M)}
    for cell in re.findall(r"^\| (H[^|]*\d) \| \D", PAGE.split("## Rows that are not here")[1], re.M):
        for first, last in re.findall(r"H(\d+)(?:–H(\d+))?", cell if letter == "H" else ""):
            told |= set(range(int(first), int(last or first) + 1))
    assert told == set(range(1, ROWS[letter] + 1))
