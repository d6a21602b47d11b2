"""Judgements: which documents answer which queries, and how well; read from and written to a zip as BEIR has it.

Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models".
"""

import hashlib
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infonce.archive import Archive, Folder, open_archive
from infonce.errors import DatasetError, Issue
from infonce.file_limits import DEFAULT_LIMITS, FileLimits
from infonce.jsonl import IssueLog, Row, TextLines, rows

_CORPUS: Final = "corpus.jsonl"
_QUERIES: Final = "queries.jsonl"
_JUDGEMENTS: Final = "qrels/test.tsv"
_TRAINING: Final = "qrels/train.tsv"
_OTHER_JUDGEMENTS: Final = re.compile(r"qrels(?:/[^/]+)?\.tsv")
_GRADE: Final = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER: Final = re.compile(r"\s*[+-]?[0-9.]")
_NUM_COLUMNS: Final = 3
_NUM_TREC_COLUMNS: Final = 4
_MAX_ID_CHARACTERS: Final = 512
_MAX_SHOWN: Final = 60
_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the earliest one, so that equal sets give equal files


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalSet:
    """Document id → text, query id → text, and query id → document id → grade; a grade above 0 is relevant."""

    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    drawn_from: int | None = None
    """The number of documents of which the corpus is a sample, if it is one."""

    def __post_init__(self) -> None:
        for query, grades in self.qrels.items():
            if query not in self.queries:
                raise _broken("unknown_query", f"qrels name query {_shown(query)}, which is not among the queries")
            for document in grades:
                if document not in self.corpus:
                    detail = f"qrels name document {_shown(document)}, which is not in the corpus"
                    raise _broken("unknown_document", detail)

    @property
    def digest(self) -> str:
        """A SHA-256 of all that is in it, in its order."""
        return hashlib.sha256(json.dumps([self.corpus, self.queries, self.qrels]).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalCounts:
    """What a whole eval file holds; only queries with judgements count."""

    documents: int
    queries: int
    judgements: int


def read_beir(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> EvalSet:
    """The eval set in a zip or folder of corpus, queries and judgements; queries without judgements are left out.

    Raises:
        DatasetError: the zip or a line in it is broken; an issue names its member and line.
    """
    return _read(path, limits)


def check_beir(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> EvalCounts:
    """Every line that `read_beir` would read was read; only ids were held in memory.

    Raises:
        DatasetError: the zip or a line in it is broken; an issue names its member and line.
    """
    found = _read(path, limits, kept=frozenset())
    return EvalCounts(
        documents=len(found.corpus),
        queries=len(found.queries),
        judgements=sum(len(grades) for grades in found.qrels.values()),
    )


def write_beir(eval_set: EvalSet, path: Path) -> None:
    """The zip at `path` holds the eval set; equal sets give equal bytes with the same zlib."""
    judgements = [
        f"{query}\t{document}\t{grade}\n"
        for query, grades in eval_set.qrels.items()
        for document, grade in grades.items()
    ]
    with zipfile.ZipFile(path, "w") as archive:
        _write(archive, _CORPUS, lines=(_json_line(_id=i, title="", text=text) for i, text in eval_set.corpus.items()))
        _write(archive, _QUERIES, lines=(_json_line(_id=i, text=text) for i, text in eval_set.queries.items()))
        _write(archive, _JUDGEMENTS, lines=["query-id\tcorpus-id\tscore\n", *judgements])


def _json_line(**values: str) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"


def _write(archive: zipfile.ZipFile, name: str, *, lines: Iterable[str]) -> None:
    entry = zipfile.ZipInfo(name, _ZIP_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(entry, "w") as member:
        for line in lines:
            member.write(line.encode("utf-8"))


def read_judged(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> EvalSet:
    """The training judgements of the zip, with the texts that they name and no others: it is read twice.

    Raises:
        DatasetError: the file is broken, or it has several files of judgements and none is for training.
    """
    judged = _read(path, limits, preferred=_TRAINING, kept=frozenset())
    named = frozenset(document for grades in judged.qrels.values() for document in grades)
    found = _read(path, limits, preferred=_TRAINING, kept=named | judged.queries.keys())
    return EvalSet(corpus={name: found.corpus[name] for name in named}, queries=found.queries, qrels=found.qrels)


def _read(
    path: Path, limits: FileLimits, *, preferred: str = _JUDGEMENTS, kept: Collection[str] | None = None
) -> EvalSet:
    """The set by the preferred judgements; of ids that are not `kept` the texts are empty."""
    with open_archive(path, max_unpacked_bytes=limits.max_unpacked_bytes) as archive:
        return _BeirReader(archive, limits, preferred=preferred, kept=kept).read()


class _BeirReader:
    """Reads the members of one archive and counts what is broken in them."""

    def __init__(
        self, archive: Archive | Folder, limits: FileLimits, *, preferred: str, kept: Collection[str] | None
    ) -> None:
        self._archive = archive
        self._limits = limits
        self._log = IssueLog()
        self._preferred = preferred
        self._kept = kept

    def read(self) -> EvalSet:
        folder = _folder(self._archive.names)
        corpus = self._texts(folder + _CORPUS, self._document_text, max_line_bytes=self._limits.max_document_line_bytes)
        queries = self._texts(folder + _QUERIES, self._query_text, max_line_bytes=self._limits.max_line_bytes)
        self._log.raise_any()  # before the judgements, each of which may name a broken line
        qrels = self._qrels(
            _judgements_member(self._archive.names, folder, preferred=self._preferred), queries=queries, corpus=corpus
        )
        self._log.raise_any()
        return EvalSet(corpus=corpus, queries={i: text for i, text in queries.items() if i in qrels}, qrels=qrels)

    def _texts(self, member: str, text_of: Callable[[Row], str | None], *, max_line_bytes: int) -> dict[str, str]:
        """Id → text of each line; ids alone count where texts are not kept."""
        texts: dict[str, str] = {}
        broken = self._log.num_issues
        with self._lines(member, max_line_bytes=max_line_bytes, max_lines=self._limits.max_documents) as lines:
            for row in rows(lines, self._log):
                name, text = self._id(row), text_of(row)
                if name in texts:
                    detail = f"_id {_shown(name)} stands a second time; ids must differ"
                    self._log.add("duplicate_id", detail, line=row.line, field="_id")
                elif name is not None and text is not None:
                    texts[name] = text if self._kept is None or name in self._kept else ""
        if not texts and self._log.num_issues == broken:
            self._log.add("empty_dataset", "the member has no lines; write one object with _id and text a line")
        return texts

    @contextmanager
    def _lines(self, member: str, *, max_line_bytes: int, max_lines: int) -> Iterator[TextLines]:
        self._log.member = member
        with self._archive.open(member) as stream:
            yield TextLines(stream, self._log, max_line_bytes=max_line_bytes, max_lines=max_lines)

    def _id(self, row: Row) -> str | None:
        field = "id" if "id" in row.values and "_id" not in row.values else "_id"
        value = row.values.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        name = self._log.text(row, field, limit=_MAX_ID_CHARACTERS)
        if name is not None and any(unicodedata.category(character) == "Cc" for character in name):
            self._log.add("invalid_text", f"{field} has a tab or line end; remove it", line=row.line, field=field)
            return None
        return name

    def _query_text(self, row: Row) -> str | None:
        return self._log.text(row, "text", limit=self._limits.max_text_characters)

    def _document_text(self, row: Row) -> str | None:
        return self._log.titled_text(row, limit=self._limits.max_document_characters)

    def _qrels(
        self, member: str, *, queries: Mapping[str, str], corpus: Mapping[str, str]
    ) -> dict[str, dict[str, int]]:
        limits = self._limits
        qrels: dict[str, dict[str, int]] = {}
        with self._lines(member, max_line_bytes=limits.max_line_bytes, max_lines=limits.max_lines) as lines:
            for number, content in lines:
                columns = content.split("\t")
                if number == 1 and _is_header(columns):
                    continue
                if problem := _judgement_problem(columns, queries=queries, corpus=corpus):
                    self._log.add(problem[0], problem[1], line=number)
                    continue
                query, document, grade = columns[0], columns[1], int(columns[2])
                if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
                    detail = f"query {_shown(query)} and document {_shown(document)} were judged differently before"
                    self._log.add("conflicting_judgement", detail, line=number)
        if not self._log.num_issues and not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
            detail = "no query has a relevant document; judge at least one with a score above 0"
            self._log.add("no_relevant_document", detail)
        return qrels


def _folder(names: Sequence[str]) -> str:
    """The folder of the zip that holds the corpus, with its slash: none, or the one top folder."""
    found = sorted(name.removesuffix(_CORPUS) for name in names if re.fullmatch(r"(?:[^/]+/)?corpus\.jsonl", name))
    if not found:
        raise _broken("missing_member", "there is no corpus.jsonl; corpus.jsonl, queries.jsonl and qrels are needed")
    if len(set(found)) > 1:
        where = ", ".join(_shown(folder) for folder in found[:5])
        raise _broken("ambiguous_member", f"corpus.jsonl stands in more than one folder ({where}); keep one")
    if found[0] + _QUERIES not in names:
        raise _broken("missing_member", "there is no queries.jsonl beside corpus.jsonl; add it")
    return found[0]


def _judgements_member(names: Sequence[str], folder: str, *, preferred: str) -> str:
    inside = sorted(name.removeprefix(folder) for name in names if name.startswith(folder))
    if preferred in inside:
        return folder + preferred
    found = [name for name in inside if _OTHER_JUDGEMENTS.fullmatch(name)]
    if not found:
        raise _broken("missing_member", f"there is no {preferred} and no qrels.tsv; add the judgements")
    if len(found) > 1:
        raise _broken("ambiguous_member", f"there are {len(found)} files of judgements; name one {preferred}")
    return folder + found[0]


def _is_header(columns: Sequence[str]) -> bool:
    return len(columns) == _NUM_COLUMNS and not _NUMBER.match(columns[2])


def _judgement_problem(
    columns: Sequence[str], *, queries: Mapping[str, str], corpus: Mapping[str, str]
) -> tuple[str, str] | None:
    """Code and sentence on why the columns are no judgement; nothing if they are one."""
    if len(columns) != _NUM_COLUMNS:
        if len(columns) == _NUM_TREC_COLUMNS or len(" ".join(columns).split()) == _NUM_TREC_COLUMNS:
            return "trec_qrels", "4 columns, as TREC has them; leave the second one out and separate by tabs"
        return "wrong_columns", f"{len(columns)} columns; write query id, document id and score, separated by tabs"
    query, document, grade = columns
    if not _GRADE.fullmatch(grade.strip()):
        return "invalid_grade", f"score {_shown(grade)} is not a whole number; write 1 for relevant, 0 for not"
    if query not in queries:
        return "unknown_query", f"query {_shown(query)} is not in queries.jsonl; add it or drop the line"
    if document not in corpus:
        return "unknown_document", f"document {_shown(document)} is not in corpus.jsonl; add it or drop the line"
    return None


def _shown(text: str) -> str:
    """A foreign text for a message, cut and with what does not print escaped."""
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")


def _broken(code: str, detail: str) -> DatasetError:
    return DatasetError([Issue(line=None, field=None, code=code, detail=detail)])
