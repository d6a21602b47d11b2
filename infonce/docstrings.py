"""Real pairs without a download: the docstrings of Python and of the packages that this project needs.

The first sentence asks; the qualified name, the signature and the rest of the docstring answer. Sources are parsed,
never imported. The order is fixed by a seed and the names alone, whatever order the file system lists them in.
"""

import ast
import hashlib
import re
import sysconfig
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from infonce.errors import DatasetError, Issue, Stopped
from infonce.limits import check_whole
from infonce.pairs import Pair
from infonce.qrels import EvalSet

PACKAGES: Final = (
    *("alembic", "celery", "click", "fastapi", "fsspec", "huggingface_hub", "jinja2", "kombu", "networkx", "numpy"),
    *("pydantic", "redis", "rich", "sqlalchemy", "starlette", "sympy", "torch", "transformers", "typer"),
)
"""What the project or its torch cannot be installed without, so that every machine reads nearly the same."""

_SKIPPED: Final = re.compile(r"_.*|test.*|.*_test|(dist|site)-packages|ensurepip|idlelib|lib2to3|turtledemo|vendor")
_MAX_SOURCE_BYTES: Final = 5_000_000  # of one package; 4.5 MB are parsed in a second
_BYTES_PER_QUOTE: Final = 1_000  # files with fewer triple quotes hold 1 in 4 docstrings and take 4 in 10 of the seconds
_MAX_FILE_BYTES: Final = 400_000  # larger ones are tables or generated
_MAX_BODY_CHARACTERS: Final = 400  # with name and signature about 110 tokens of MiniLM
_MAX_SIGNATURE_CHARACTERS: Final = 160
_MIN_SENTENCE_WORDS: Final = 4
_MAX_SENTENCE_WORDS: Final = 40
_MIN_BODY_WORDS: Final = 8
_SHINGLE_WORDS: Final = 5
_MAX_SEEN_SHARE: Final = 0.5
_SENTENCE: Final = re.compile(r"(.+?[.!?])(?=\s+[^\sa-z0-9]|\s*$)", re.DOTALL)
_BOILERPLATE: Final = re.compile(
    r"^[^\w`'\"(<]"  # a list, a field or a table
    r"|^[\w*]+ ?\(.*\) ?:|^(args|arguments|parameters|returns|raises|yields|examples?|notes?|see)\b ?:?\s"
    r"|deprecated|>>>|::|^(alias|same)\b|\binternal use\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[a-z]{2,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SetSizes:
    """How many training pairs, judged queries and searchable documents there shall be."""

    pairs: int = 3_000
    queries: int = 500
    documents: int = 3_000

    def __post_init__(self) -> None:
        for field in fields(self):
            check_whole(field.name, getattr(self, field.name), low=1, high=100_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class DocstringSet:
    """Pairs to train on, and an eval set of which no module was trained on and no text is repeated."""

    train: tuple[Pair, ...]
    eval_set: EvalSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A folder of Python files and the name under which they are imported; empty for the standard library."""

    package: str
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Docstring:
    """One documented thing: the sentence that asks, and the text that answers, of which the body is a part."""

    module: str
    name: str
    sentence: str
    body: str
    text: str


def installed_sources() -> list[Source]:
    """The standard library and the packages of `PACKAGES` that are installed; nothing was imported."""
    sources = [Source(package="", folder=Path(sysconfig.get_path("stdlib")))]
    for package in PACKAGES:
        found = PathFinder.find_spec(package)
        if found is not None and found.origin is not None:
            sources.append(Source(package=package, folder=Path(found.origin).parent))
    return sources


def read_docstrings(
    sources: Sequence[Source], sizes: SetSizes, *, seed: int = 42, stop: Callable[[], bool] = lambda: False
) -> DocstringSet:
    """The eval set comes from modules of its own; equal sources and seeds give equal sets.

    Raises:
        DatasetError: the sources hold too few docstrings that say anything.
        Stopped: `stop()` was true before a module was parsed.
    """
    found: list[Docstring] = []
    for source in sources:
        for name, content in _modules(source, seed):
            if stop():
                raise Stopped("stopped while reading docstrings")
            found.extend(documented(name, content))
    found.sort(key=lambda item: (_order(seed, item.module), _order(seed, item.name), item.text))
    distinct = list(_distinct(found))
    documents = distinct[: sizes.documents]
    taken = {item.module for item in documents}
    rest = [item for item in distinct[sizes.documents :] if item.module not in taken]
    if len(documents) < max(sizes.documents, sizes.queries) or len(rest) < sizes.pairs:
        raise _too_few(len(distinct), sizes)
    train = sorted(rest, key=lambda item: _order(seed, item.name))[: sizes.pairs]
    return DocstringSet(
        train=tuple(Pair(item.sentence, item.text) for item in train), eval_set=_eval_set(documents, sizes, seed=seed)
    )


def distinct_docstrings(
    sources: Sequence[Source], *, count: int, seed: int = 42, stop: Callable[[], bool] = lambda: False
) -> list[Docstring]:
    """At least `count`, none of which repeats another, of as many sources as it takes in their order; else all.

    In an order that the seed fixes.

    Raises:
        Stopped: `stop()` was true before a module was parsed.
    """
    found: list[Docstring] = []
    distinct: list[Docstring] = []
    for source in sources:
        for name, content in _modules(source, seed):
            if stop():
                raise Stopped("stopped while reading docstrings")
            found.extend(documented(name, content))
        found.sort(key=lambda item: (_order(seed, item.name), item.text))
        distinct = list(_distinct(found))
        if len(distinct) >= count:
            break
    return distinct


def _eval_set(documents: Sequence[Docstring], sizes: SetSizes, *, seed: int) -> EvalSet:
    ordered = sorted(documents, key=lambda item: _order(seed, item.name))
    judged = {f"q{place}": item for place, item in enumerate(ordered[: sizes.queries])}
    return EvalSet(
        corpus={item.name: item.text for item in ordered},
        queries={query: item.sentence for query, item in judged.items()},
        qrels={query: {item.name: 1} for query, item in judged.items()},
    )


def _order(seed: int, name: str) -> bytes:
    """A place in a random order that another name does not move."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def _modules(source: Source, seed: int) -> Iterator[tuple[str, bytes]]:
    """Name and source of the public modules rich in docstrings, as many as are parsed in about two seconds."""
    paths = {_module_name(source, path): path for path in sorted(_files(source.folder))}
    left = _MAX_SOURCE_BYTES
    for name in sorted(paths, key=lambda name: (_order(seed, name), name)):
        if not _is_public(name) or paths[name].stat().st_size > min(left, _MAX_FILE_BYTES):
            continue
        content = paths[name].read_bytes()
        if content.count(b'"""') * _BYTES_PER_QUOTE > len(content):
            left -= len(content)
            yield name, content


def _files(folder: Path) -> Iterator[Path]:
    """The Python files below a folder; folders to be skipped are not entered."""
    for path in folder.iterdir():
        if path.suffix == ".py":
            yield path
        elif path.is_dir() and not path.is_symlink() and _is_public(path.name):
            yield from _files(path)


def _module_name(source: Source, path: Path) -> str:
    parts = path.relative_to(source.folder).with_suffix("").parts
    named = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join((source.package, *named) if source.package else named)


def _is_public(name: str) -> bool:
    return not any(_SKIPPED.fullmatch(part) for part in name.split("."))


def documented(module: str, content: bytes) -> Iterator[Docstring]:
    """The public classes, functions and methods that say something; nothing where the source is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # foreign sources warn of their escape sequences while they are parsed
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the parser's own words for too deep a nesting
        return
    scopes: list[tuple[str, ast.Module | ast.ClassDef]] = [(module, tree)]
    while scopes:
        prefix, scope = scopes.pop()
        for node in scope.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                name = f"{prefix}.{node.name}"
                if isinstance(node, ast.ClassDef):
                    scopes.append((name, node))
                if parts := _parts(ast.get_docstring(node) or ""):
                    text = f"{name}{_signature(node)}\n{parts[1]}"
                    yield Docstring(module=module, name=name, sentence=parts[0], body=parts[1], text=text)


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The parameters without `self`; those of `__init__` for a class, nothing for one without."""
    if isinstance(node, ast.ClassDef):
        made = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        return _signature(made[0]) if made else ""
    parameters = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args))
    return f"({cut_at_a_word(parameters, _MAX_SIGNATURE_CHARACTERS)})"


def _parts(docstring: str) -> tuple[str, str] | None:
    """First sentence and rest; nothing if one of them says too little or the one repeats the other."""
    paragraph, _, rest = docstring.partition("\n\n")
    found = _SENTENCE.match(paragraph)
    sentence = " ".join((found[1] if found else paragraph).split())
    body = "\n\n".join(part for part in (paragraph[found.end() :].strip() if found else "", rest.strip()) if part)
    if len(_words(sentence)) < _MIN_SENTENCE_WORDS or len(sentence.split()) > _MAX_SENTENCE_WORDS:
        return None
    if _BOILERPLATE.search(sentence):
        return None
    body = cut_at_a_word(body, _MAX_BODY_CHARACTERS)
    if len(_words(body)) < _MIN_BODY_WORDS or " ".join(_words(sentence)) in " ".join(_words(body)):
        return None
    return sentence, body


def cut_at_a_word(text: str, limit: int) -> str:
    """At most `limit` characters, ending at a word."""
    return text if len(text) <= limit else text[:limit].rsplit(maxsplit=1)[0]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _distinct(found: Iterable[Docstring]) -> Iterator[Docstring]:
    """Those of which neither part stands, wholly or for the most part, in one that came before.

    Compared by runs of five words: Broder 1997, "On the resemblance and containment of documents".
    """
    seen: set[int] = set()
    names: set[str] = set()
    for item in found:
        shingles = [_shingles(item.sentence), _shingles(item.body)]
        if item.name in names or any(len(part & seen) > _MAX_SEEN_SHARE * len(part) for part in shingles):
            continue
        names.add(item.name)
        seen.update(*shingles)
        yield item


def _shingles(text: str) -> set[int]:
    """Checksums of each run of words; of all words if there are fewer."""
    words = _words(text)
    starts = range(max(1, len(words) - _SHINGLE_WORDS + 1))
    return {zlib.crc32(" ".join(words[start : start + _SHINGLE_WORDS]).encode()) for start in starts}


def _too_few(num_found: int, sizes: SetSizes) -> DatasetError:
    detail = f"the sources hold {num_found} distinct docstrings; {sizes.pairs} pairs and {sizes.documents} documents"
    remedy = "from other modules were asked for; ask for fewer or install more packages"
    return DatasetError([Issue(line=None, field=None, code="too_few_pairs", detail=f"{detail} {remedy}")])
