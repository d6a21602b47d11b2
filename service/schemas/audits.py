"""Audits of uploads as callers see them."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from service.schemas.strict import Answer


class Place(Answer):
    """One place in a file, and a sentence about it."""

    line: int | None
    field: str | None
    code: str
    detail: str


class FindingObject(Answer):
    """All places of one kind: counted, the first of them named."""

    code: str
    level: Literal["warn", "info"]
    meaning: str
    count: int
    """Of all places; where a sample was looked at, of those in it."""
    shown: int
    issues: list[Place]


class FileIssues(Answer):
    """What is wrong or odd in a file whose every line can be read; none of it refuses the file."""

    object: Literal["file.issues"] = "file.issues"
    file: str
    findings: list[FindingObject]

    @classmethod
    def of(cls, file: str, audit: Mapping[str, Any]) -> Self:
        """The findings of an audit."""
        return cls(file=file, findings=[FindingObject(**finding) for finding in audit["findings"]])


class Structure(Answer):
    """How many belong to how many."""

    queries: int
    positives: int
    distinct_pairs: int
    positives_per_query: list[dict[str, int]]
    """Bars of a histogram: from, to, count."""
    queries_per_positive: list[dict[str, int]]
    negatives_per_pair: list[dict[str, int]]


class Sampled(Answer):
    """How many distinct texts of a side were looked at, and which share of all that is."""

    texts: int
    share: float


class SampledSides(Answer):
    """Of both sides."""

    queries: Sampled
    documents: Sampled


class NearDuplicates(Answer):
    """How many of the texts that were looked at are nearly an earlier one."""

    threshold: float
    queries: int
    documents: int


class SideLengths(Answer):
    """How long one side's texts are."""

    texts: int
    tokens: int
    quantiles: dict[str, int]
    histogram: list[dict[str, int]]
    truncated: int
    """Texts with more tokens than the model reads."""
    tokens_lost: int
    share_lost: float


class Lengths(Answer):
    """Lengths in tokens of a model."""

    model: str
    max_length: int
    """What a training with this model reads if nothing else is asked for."""
    queries: SideLengths
    documents: SideLengths


class Overlap(Answer):
    """How many pairs share their query, their positive, or both with a held-out pair."""

    file: str
    pairs: int
    """Of the held-out file."""
    queries: int
    positives: int
    both: int


class FileStats(Answer):
    """What a file of pairs is like."""

    object: Literal["file.stats"] = "file.stats"
    file: str
    pairs: int
    negatives: int
    duplicates: int
    """Pairs whose query and positive are those of an earlier pair."""
    ignored_fields: dict[str, int]
    """Field → how many rows have it."""
    structure: Structure
    sample: SampledSides
    near_duplicates: NearDuplicates
    lengths: Lengths | None
    """Null where no model was named and the default one is not here."""
    overlap: Overlap | None
    """With the file of `held_out`."""

    @classmethod
    def of(cls, file: str, audit: Mapping[str, Any], *, held_out: str | None) -> Self:
        """The numbers of an audit."""
        counts = {finding["code"]: finding["count"] for finding in audit["findings"]}
        names = ("pairs", "negatives", "ignored_fields", "structure", "sample", "near_duplicates", "lengths")
        overlap = None if held_out is None else {"file": held_out, **audit["held_out"]}
        return cls.model_validate(
            {
                "file": file,
                **{name: audit[name] for name in names},
                "duplicates": counts.get("duplicate_pair", 0),
                "overlap": overlap,
            }
        )
