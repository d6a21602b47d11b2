"""Queries to look at: what two models put first for them, and whether that is right; knows no torch."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, Self

from infonce.compare import Change, Outcome, changes
from infonce.evaluation import Evaluation
from infonce.metrics import ranked
from infonce.phrases import shortened
from infonce.qrels import EvalSet

_MAX_RELEVANT: Final = 3  # of a query that is shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One query, and what the two models put first for it."""

    change: Change
    text: str
    relevant: tuple[str, ...]
    base_first: str
    tuned_first: str
    base_is_right: bool
    """What the base model put first is relevant."""
    tuned_is_right: bool

    def cut(self, num_characters: int) -> Self:
        """The same with texts of at most so many characters and an ellipsis."""
        return replace(
            self,
            text=shortened(self.text, num_characters),
            relevant=tuple(shortened(text, num_characters) for text in self.relevant),
            base_first=shortened(self.base_first, num_characters),
            tuned_first=shortened(self.tuned_first, num_characters),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        change = self.change
        values = {"query": change.query, "outcome": change.outcome.value, "base": change.base, "tuned": change.tuned}
        texts = {"text": self.text, "relevant": list(self.relevant)}
        first = {"base_first": self.base_first, "tuned_first": self.tuned_first}
        return values | texts | first | {"base_is_right": self.base_is_right, "tuned_is_right": self.tuned_is_right}


def examples(base: Evaluation, tuned: Evaluation, *, judged: EvalSet, metric: str, count: int) -> tuple[Example, ...]:
    """At most `count` wins, then losses, then ties: those that changed most, and the ties with the lowest value.

    Raises:
        ConfigError: the metric was not measured.
    """
    found = changes(base.per_query, tuned.per_query, metric=metric)
    chosen = (
        change for outcome in Outcome for change in islice((one for one in found if one.outcome is outcome), count)
    )
    return tuple(_example(change, base, tuned=tuned, judged=judged) for change in chosen)


def _example(change: Change, base: Evaluation, *, tuned: Evaluation, judged: EvalSet) -> Example:
    grades = judged.qrels[change.query]
    best = sorted((document for document, grade in grades.items() if grade > 0), key=lambda name: (-grades[name], name))
    first, then = (ranked(model.run[change.query])[0] for model in (base, tuned))
    return Example(
        change=change,
        text=judged.queries[change.query],
        relevant=tuple(judged.corpus[name] for name in best[:_MAX_RELEVANT]),
        base_first=judged.corpus[first],
        tuned_first=judged.corpus[then],
        base_is_right=grades.get(first, 0) > 0,
        tuned_is_right=grades.get(then, 0) > 0,
    )
