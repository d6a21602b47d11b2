"""What `import infonce` offers is complete, real and light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import infonce

HOME = Path(infonce.__file__).parent
FROM_THEIR_MODULE = {"train", "Source"}
"""Public names imported from their module: `train` bears its name, `Source` means something only beside `Hub`."""


@pytest.mark.parametrize("name", infonce.__all__)
def test_an_exported_name_is_the_one_that_a_module_defines(name: str) -> None:
    exported = getattr(infonce, name)
    assert exported.__module__.startswith("infonce.")
    assert getattr(import_module(exported.__module__), name) is exported


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = infonce.no_such_thing


def test_importing_the_package_loads_none_of_its_modules() -> None:
    code = (
        "import infonce, sys; print(*[name for name in sys.modules if name.startswith('infonce.') or name == 'torch'])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def test_the_list_is_sorted_and_names_what_the_signatures_of_its_members_name() -> None:
    assert sorted(infonce.__all__) == infonce.__all__
    public = set(infonce.__all__) | FROM_THEIR_MODULE
    needed = {
        word
        for path in sorted(HOME.glob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in public
        for word in words_of_signatures(node)
    }
    missing = (needed & defined_classes()) - public
    assert not missing, f"the signatures of exported names use {sorted(missing)}; export them too"


def words_of_signatures(node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Every name in the annotations of a function, or of a class's fields and public methods."""
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            if isinstance(member, ast.AnnAssign):
                yield from words(member.annotation)
            elif isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield from words_of_signatures(member)
        return
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    for annotation in (node.returns, *(argument.annotation for argument in arguments)):
        yield from words(annotation)


def words(annotation: ast.expr | None) -> Iterator[str]:
    """The plain names in an annotation."""
    if annotation is not None:
        yield from (node.id for node in ast.walk(annotation) if isinstance(node, ast.Name))


def defined_classes() -> set[str]:
    """The public classes of the library."""
    trees = (ast.parse(path.read_text("utf-8")) for path in HOME.glob("*.py"))
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"}
