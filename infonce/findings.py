"""What an audit finds, by kind: all of a kind are counted, and the first places of it are named."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from infonce.errors import MAX_LISTED_ISSUES, Issue

VERSION: Final = 1
"""Of what an audit looks at and how it says it: stored ones of another version are made anew."""


class FindingLevel(StrEnum):
    """How much a finding matters."""

    WARN = "warn"
    INFO = "info"


class FindingCode(StrEnum):
    """The kinds of findings."""

    DEGENERATE_DATASET = "degenerate_dataset"
    DUPLICATE_PAIR = "duplicate_pair"
    QUERY_EQUALS_POSITIVE = "query_equals_positive"
    CONFLICTING_PAIR = "conflicting_pair"
    QUERY_AMONG_NEGATIVES = "query_among_negatives"
    NEAR_DUPLICATE = "near_duplicate"
    HELD_OUT_QUERY = "held_out_query"
    HELD_OUT_POSITIVE = "held_out_positive"
    TRUNCATED_TEXT = "truncated_text"
    LABEL_IGNORED = "label_ignored"
    IGNORED_FIELD = "ignored_field"
    NEGATIVE_ABOVE_POSITIVE = "negative_above_positive"
    FALSE_NEGATIVE_SUSPECT = "false_negative_suspect"


MEANINGS: Final[Mapping[FindingCode, str]] = {
    FindingCode.DEGENERATE_DATASET: "there is next to nothing to learn from",
    FindingCode.DUPLICATE_PAIR: "query and positive are those of an earlier pair",
    FindingCode.QUERY_EQUALS_POSITIVE: "the positive is the query itself",
    FindingCode.CONFLICTING_PAIR: "a negative is a positive of the same query",
    FindingCode.QUERY_AMONG_NEGATIVES: "a negative is the query itself",
    FindingCode.NEAR_DUPLICATE: "the text is nearly that of an earlier line",
    FindingCode.HELD_OUT_QUERY: "the query is one of the held-out queries",
    FindingCode.HELD_OUT_POSITIVE: "the positive is the positive of a held-out query",
    FindingCode.TRUNCATED_TEXT: "the text has more tokens than the model reads",
    FindingCode.LABEL_IGNORED: "a field looks like a label or score, and every row counts as a right pair",
    FindingCode.IGNORED_FIELD: "the field is not read",
    FindingCode.NEGATIVE_ABOVE_POSITIVE: "a negative scores above its positive",
    FindingCode.FALSE_NEGATIVE_SUSPECT: "a negative scores nearly as high as its positive",
}
_INFORMS: Final = {
    FindingCode.NEAR_DUPLICATE,
    FindingCode.IGNORED_FIELD,
    FindingCode.HELD_OUT_POSITIVE,
    FindingCode.FALSE_NEGATIVE_SUSPECT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """All places of one kind."""

    code: FindingCode
    count: int
    issues: tuple[Issue, ...]
    """The first 20 of them."""

    @property
    def level(self) -> FindingLevel:
        """How much it matters."""
        return FindingLevel.INFO if self.code in _INFORMS else FindingLevel.WARN

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "code": self.code.value,
            "level": self.level.value,
            "meaning": MEANINGS[self.code],
            "count": self.count,
            "shown": len(self.issues),
            "issues": [asdict(issue) for issue in self.issues],
        }


class Findings:
    """Counts findings by kind and keeps the first 20 places of each."""

    def __init__(self) -> None:
        self._counts: dict[FindingCode, int] = {}
        self._issues: dict[FindingCode, list[Issue]] = {}

    def add(self, code: FindingCode, detail: str, *, line: int | None = None, field: str | None = None) -> None:
        """Count one place."""
        self._counts[code] = self._counts.get(code, 0) + 1
        kept = self._issues.setdefault(code, [])
        if len(kept) < MAX_LISTED_ISSUES:
            kept.append(Issue(line=line, field=field, code=code.value, detail=detail))

    def add_unnamed(self, code: FindingCode, count: int) -> None:
        """Count further places that nobody will be shown."""
        if count:
            self._counts[code] = self._counts.get(code, 0) + count

    def count(self, code: FindingCode) -> int:
        """How many places of that kind there are by now."""
        return self._counts.get(code, 0)

    def found(self) -> tuple[Finding, ...]:
        """What was found, in the order of the kinds."""
        return tuple(
            Finding(code=code, count=self._counts[code], issues=tuple(self._issues.get(code, ())))
            for code in FindingCode
            if code in self._counts
        )
