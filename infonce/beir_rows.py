"""The judgements of a BEIR zip or folder as rows of pairs: what answers a query, and what was judged not to."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from infonce.dialects import Dialect
from infonce.errors import DatasetError, Issue
from infonce.file_limits import FileLimits
from infonce.jsonl import Row
from infonce.qrels import read_judged

_DIALECT: Final = Dialect(anchors=("query",), positive="positive", negatives=("negatives",))


class BeirRows:
    """A row for each query that has a relevant document; documents with grade 0 or below are its negatives.

    Raises:
        DatasetError: the zip is broken, or there is a mapping, which has nothing to name in it.
    """

    is_table = False
    empty_lines = 0
    dialect = _DIALECT

    def __init__(self, path: Path, limits: FileLimits, *, mapped: Dialect | None) -> None:
        if mapped is not None:
            detail = "a mapping is given and the file is of BEIR, whose fields are fixed; leave the mapping out"
            raise DatasetError([Issue(line=None, field=None, code="needless_mapping", detail=detail)])
        self._skipped = 0
        self._judged = read_judged(path, replace(limits, max_document_characters=limits.max_text_characters))

    def skip(self, line: int) -> None:
        """From now on the rows up to that number are left out; everything was read before the first one."""
        self._skipped = line

    def __iter__(self) -> Iterator[Row]:
        corpus = self._judged.corpus
        for number, (query, grades) in enumerate(self._judged.qrels.items(), start=1):
            positives = [corpus[document] for document, grade in grades.items() if grade > 0]
            negatives = [corpus[document] for document, grade in grades.items() if grade <= 0]
            if positives and number > self._skipped:
                text = self._judged.queries[query]
                yield Row(number, {"query": text, "positive": positives, "negatives": negatives})
