"""The fields in which pairs are written, by us and by others: found from the names, or given as a mapping."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from infonce.errors import ConfigError
from infonce.jsonl import text_problem
from infonce.limits import known_keys

_NUMBERED: Final = re.compile(r"negative(?:_[0-9]{1,4})?")
_MAX_NAME_CHARACTERS: Final = 200
_MAX_NEGATIVE_FIELDS: Final = 1_000
_SHAPE: Final = 'write it like {"anchor": "q", "positive": "a", "negatives": ["n"]}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """Which fields of a row hold what."""

    anchors: tuple[str, ...]
    """Names of which a row has one."""
    positive: str
    negatives: tuple[str, ...] = ()
    numbered: bool = False
    """Whether `negative`, `negative_1`, … hold negatives too."""
    several: bool = True
    """Whether the positive may be a list; each text of it makes a pair."""
    lists_only: bool = False
    """Whether `negatives` must be lists; elsewhere one text will do."""

    def fits(self, names: Collection[str]) -> bool:
        """Whether these fields have what makes a pair."""
        return self.positive in names and any(name in names for name in self.anchors)

    def negative_fields(self, names: Collection[str]) -> tuple[str, ...]:
        """Those of the names that hold negatives, in their order."""
        return tuple(name for name in names if name in self.negatives or (self.numbered and _NUMBERED.fullmatch(name)))


OURS: Final = Dialect(
    anchors=("anchor", "query"),
    positive="positive",
    negatives=("negatives",),
    numbered=True,
    several=False,
    lists_only=True,
)
"""Ours, and that of sentence-transformers: anchor, positive, negative, negative_1 … negative_n."""

_DIALECTS: Final = (
    OURS,
    Dialect(anchors=("query",), positive="pos", negatives=("neg",)),  # FlagEmbedding
    Dialect(anchors=("query",), positive="pos_doc", negatives=("neg_doc",)),  # NeMo
    Dialect(anchors=("query",), positive="relevant_passages", negatives=("hard_negatives",)),  # Cohere
    Dialect(anchors=("sentence1",), positive="sentence2", negatives=("sentence3",)),  # AutoTrain
)


def dialect_of(names: Collection[str]) -> Dialect | None:
    """The first dialect that these fields fit; none if they fit no one's."""
    return next((dialect for dialect in _DIALECTS if dialect.fits(names)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldMapping:
    """The caller's own names of the fields, which count instead of every dialect."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [self.anchor, self.positive, *self.negatives]
        for name in names:
            if not isinstance(name, str):
                raise ConfigError(f"the field name {name!r:.60} is no text; name a field", param="mapping")
            if found := text_problem(name, _MAX_NAME_CHARACTERS):
                raise ConfigError(f"the field name {name!r:.60} {found[1]}", param="mapping")
        if len(names) > _MAX_NEGATIVE_FIELDS:
            message = f"{len(self.negatives)} fields of negatives are named; the limit is {_MAX_NEGATIVE_FIELDS}"
            raise ConfigError(message, param="mapping")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"the field {twice[0]!r} is named twice; each field holds one thing", param="mapping")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The mapping of `{"anchor": "q", "positive": "a", "negatives": ["n1", "n2"]}`; negatives may be left out.

        Raises:
            ConfigError: a name is missing, unknown, given twice or no text.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"the mapping {values!r:.60} is no object; {_SHAPE}", param="mapping")
        known_keys(cls, values, where="mapping.")
        for name in ("anchor", "positive"):
            if name not in values:
                raise ConfigError(f"the mapping names no field for {name}; add it", param=f"mapping.{name}")
        negatives = values.get("negatives") or ()
        if not isinstance(negatives, Sequence):
            message = f"mapping.negatives is {negatives!r:.60}; it must be a list of field names"
            raise ConfigError(message, param="mapping.negatives")
        names = (negatives,) if isinstance(negatives, str) else tuple(negatives)
        return cls(anchor=values["anchor"], positive=values["positive"], negatives=names)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The mapping of that JSON, as `from_dict` says.

        Raises:
            ConfigError: it is no JSON, or no mapping.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise ConfigError(f"the mapping {text[:60]!r} is not JSON; {_SHAPE}", param="mapping") from None
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, which `from_dict` reads."""
        return {"anchor": self.anchor, "positive": self.positive, "negatives": list(self.negatives)}

    @property
    def dialect(self) -> Dialect:
        """The dialect that it stands for."""
        return Dialect(anchors=(self.anchor,), positive=self.positive, negatives=self.negatives)
