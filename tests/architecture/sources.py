"""Reads the packages as syntax trees: which module imports what, and when.

Nothing of ours is imported here, so a broken module is still judged.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PACKAGES = ("infonce", "service", "worker")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file of ours."""

    path: str
    """Below the repository's root, with forward slashes."""
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, text: str) -> "Source":
        """The source of one file."""
        return cls(path=path, text=text, tree=ast.parse(text, filename=path))

    @property
    def module(self) -> str:
        """The dotted name under which it is imported."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_package(self) -> bool:
        """Whether it is an `__init__.py`."""
        return self.path.endswith("__init__.py")


Sources = Mapping[str, Source]
"""Module name -> its source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """One import statement's target."""

    importer: str
    target: str
    """The module that gets loaded; for a foreign one the full dotted name."""
    line: int
    deferred: bool
    """Inside a function: loaded when it is called, not when the module is."""
    typing_only: bool
    """Under `if TYPE_CHECKING:`: never loaded."""


def read_sources(root: Path) -> Sources:
    """Every Python file of the three packages below `root`."""
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return collect({path.relative_to(root).as_posix(): path.read_text("utf-8") for path in paths})


def collect(texts: Mapping[str, str]) -> Sources:
    """Sources from path -> text, for the self-tests too."""
    sources = [Source.parse(path, text) for path, text in texts.items()]
    return {source.module: source for source in sources}


def inside(module: str, *packages: str) -> bool:
    """Whether `module` is one of `packages` or lies below one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports(source: Source, sources: Sources) -> list[Import]:
    """What `source` imports, deferred and typing-only imports marked as such."""
    found = []
    for node, deferred, typing_only in _walk(source.tree):
        for target in _targets(node, source, sources):
            found.append(
                Import(
                    importer=source.module,
                    target=target,
                    line=node.lineno,
                    deferred=deferred,
                    typing_only=typing_only,
                )
            )
    return found


def all_imports(sources: Sources) -> Iterator[Import]:
    """Every import of every module."""
    for source in sources.values():
        yield from imports(source, sources)


def _walk(
    node: ast.AST, deferred: bool = False, *, typing_only: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom | ast.Call, bool, bool]]:
    if isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.Call) and _is_dynamic(node)):
        yield node, deferred, typing_only
    below = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    guarded = node.body if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") else []
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, below, typing_only=typing_only or child in guarded)


def _is_dynamic(node: ast.Call) -> bool:
    """`import_module("x")` and `__import__("x")` are imports too."""
    name = ast.unparse(node.func).rsplit(".", 1)[-1]
    return name in ("import_module", "__import__") and bool(node.args) and isinstance(node.args[0], ast.Constant)


def _targets(node: ast.Import | ast.ImportFrom | ast.Call, source: Source, sources: Sources) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.Call):
        return [str(node.args[0].value)] if isinstance(node.args[0], ast.Constant) else []
    package = _absolute(node, source)
    names = [f"{package}.{alias.name}" for alias in node.names]
    # `from service.store import jobs` loads a module of that name, `from infonce.pairs import Pair` only infonce.pairs.
    return [name if name in sources else package for name in names]


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    kept = parts[: len(parts) - node.level + source.is_package]
    return ".".join([*kept, node.module] if node.module else kept)
