"""Docstrings become pairs and an eval set that share nothing, whatever the file system does."""

import gc
import random
import time
from pathlib import Path

import pytest

from infonce.docstrings import DocstringSet, SetSizes, Source, documented, installed_sources, read_docstrings
from infonce.errors import ConfigError, DatasetError, Stopped
from infonce.split import text_key

SMALL = SetSizes(pairs=20, queries=5, documents=10)
BODY = "It looks at every part of the given thing and gives them back sorted."


def function(name: str, docstring: str, *, parameters: str = "part: int = 1, *rest") -> str:
    """The source of a documented function."""
    return f'def {name}({parameters}):\n    r"""{docstring}\n    """\n'


def one(docstring: str, *, name: str = "sort_parts") -> list[tuple[str, str]]:
    """Sentence and text of what a module with one such function gives."""
    return [(item.sentence, item.text) for item in documented("pkg.mod", function(name, docstring).encode())]


def tree(folder: Path, *, turned: bool = False) -> Source:
    """Thirty modules of two functions whose texts are all different, written in this order or the other."""
    folder.mkdir()
    numbers = range(30)
    for number in reversed(numbers) if turned else numbers:
        draw = random.Random(number)
        words = ["".join(draw.choices("abcdefghij", k=6)) for _ in range(40)]
        functions = [
            function(f"f{part}", " ".join([*words[part : part + 6], "now.\n\n", *words[part + 8 : part + 20]]))
            for part in (0, 20)
        ]
        (folder / f"m{number}.py").write_text("raise SystemExit\n" + "\n".join(functions))
    return Source(package="pkg", folder=folder)


def assert_nothing_is_shared(found: DocstringSet) -> None:
    """No text of the training pairs stands in the eval set, nor twice among themselves."""
    trained = [text_key(text) for pair in found.train for text in (pair.anchor, pair.positive)]
    judged = [text_key(text) for texts in (found.eval_set.queries, found.eval_set.corpus) for text in texts.values()]
    assert len({*trained, *judged}) == len(trained) + len(judged)


def test_the_first_sentence_asks_and_name_signature_and_rest_answer() -> None:
    found = one(f"Sort the parts\n    of a thing. {BODY}\n\n    More is said here.")
    text = f"pkg.mod.sort_parts(part: int=1, *rest)\n{BODY}\n\nMore is said here."
    assert found == [("Sort the parts of a thing.", text)]


def test_methods_and_classes_are_read_without_self() -> None:
    method = function("go", f"Go to the other end. {BODY}", parameters="self, there")
    made = function("__init__", "", parameters="self, size=3")
    source = f'class Walk:\n    """Walks all the way there. {BODY}"""\n'
    source += "".join(f"    {line}\n" for line in (made + method).splitlines())
    found = [item.text.split("\n")[0] for item in documented("pkg.mod", source.encode())]
    assert found == ["pkg.mod.Walk(size=3)", "pkg.mod.Walk.go(there)"]


@pytest.mark.parametrize(
    "docstring",
    [
        BODY,
        "Too short.\n\n    " + BODY,
        "Sort the parts of a thing.\n\n    Short rest.",
        "Sort the parts " + "and more of them " * 10 + "here.\n\n    " + BODY,
        "Deprecated, sort the parts yourself now. " + BODY,
        "Args: a thing with many parts.\n\n    " + BODY,
        "part (`int`, *optional*): The part to be sorted.\n\n    " + BODY,
        ":param part: the part that is sorted.\n\n    " + BODY,
        "Sort the parts of a thing.\n\n    Note: sort the parts of a thing only once, and never again.",
    ],
)
def test_what_says_too_little_or_repeats_itself_is_left_out(docstring: str) -> None:
    assert one(docstring) == []


@pytest.mark.parametrize("source", [b"def broken(:", b"\0", b"(" * 10_000, b"x = '\xff'"])
def test_what_is_not_python_is_left_out(source: bytes) -> None:
    assert list(documented("pkg.mod", source)) == []


def test_private_names_are_left_out() -> None:
    assert one(f"Sort the parts of a thing. {BODY}", name="_sort") == []


def test_an_abbreviation_does_not_end_the_sentence() -> None:
    assert one(f"Sort all the parts, e.g. small ones, by size. {BODY}")[0][0].endswith("by size.")


def test_a_long_text_is_cut_at_a_word() -> None:
    [(_, text)] = one("Sort the parts of a thing.\n\n    " + "length " * 1_000)
    assert 400 < len(text) < 800 and text.endswith(" length")


def test_no_source_is_imported_and_nothing_is_shared(tmp_path: Path) -> None:
    found = read_docstrings([tree(tmp_path / "a")], SMALL)
    assert_nothing_is_shared(found)
    assert (len(found.train), len(found.eval_set.queries), len(found.eval_set.corpus)) == (20, 5, 10)


def test_no_module_stands_on_both_sides(tmp_path: Path) -> None:
    found = read_docstrings([tree(tmp_path / "a")], SMALL)
    trained = {pair.positive.split(".f")[0] for pair in found.train}
    assert not trained & {name.split(".f")[0] for name in found.eval_set.corpus}


def test_the_order_of_the_file_system_does_not_matter_and_the_seed_does(tmp_path: Path) -> None:
    one, other = tree(tmp_path / "a"), tree(tmp_path / "b", turned=True)
    assert read_docstrings([one], SMALL, seed=1) == read_docstrings([other], SMALL, seed=1)
    assert read_docstrings([one], SMALL, seed=1) != read_docstrings([one], SMALL, seed=2)


def test_folders_of_tests_and_private_modules_are_not_read(tmp_path: Path) -> None:
    for name in ("tests", "_private", "test_it"):
        tree(tmp_path / name)
    with pytest.raises(DatasetError, match="hold 0 distinct docstrings"):
        read_docstrings([Source(package="", folder=tmp_path)], SMALL)


def test_a_docstring_of_two_classes_is_taken_once(tmp_path: Path) -> None:
    for number in range(20):
        text = f"Sort the parts of a thing in class {number}. {BODY}\n    Only the class {number} differs."
        (tmp_path / f"m{number}.py").write_text(function(f"sort{number}", text))
    with pytest.raises(DatasetError, match="hold 1 distinct docstrings"):
        read_docstrings([Source(package="pkg", folder=tmp_path)], SMALL)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="queries"):
        SetSizes(queries=0)


def test_the_standard_library_alone_gives_a_set() -> None:
    [standard, *_] = installed_sources()
    found = read_docstrings([standard], SetSizes(pairs=300, queries=50, documents=300))
    assert_nothing_is_shared(found)
    assert all(pair.anchor not in pair.positive for pair in found.train)


def test_the_installed_packages_give_the_demo_its_set_in_seconds() -> None:
    gc.collect()
    gc.freeze()  # the collector would walk through all that other tests left, again and again
    started = time.process_time()
    found = read_docstrings(installed_sources(), SetSizes())
    assert time.process_time() - started < 20  # 7 where nothing else runs
    gc.unfreeze()
    assert_nothing_is_shared(found)
    assert (len(found.train), len(found.eval_set.queries), len(found.eval_set.corpus)) == (3_000, 500, 3_000)


def test_a_wish_to_stop_is_heard_before_the_next_module(tmp_path: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        read_docstrings([tree(tmp_path / "a")], SMALL, stop=lambda: next(asked))
    assert next(asked, None) is None
