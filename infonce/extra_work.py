"""What a job does beside training and judging, and how long it takes: an audit, and weights between base and tuned."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from infonce.audit import MAX_TEXTS, audit_pairs
from infonce.config import Side
from infonce.judged_work import Judge, JudgedTime
from infonce.length_picture import TokenCounter
from infonce.negative_scores import scored_pairs
from infonce.pairs import Pair
from infonce.qrels import EvalSet
from infonce.soup import Work, affordable

_AUDITED: Final = 1_000  # pairs, to see how long that takes: half a second


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtraWork:
    """What a job does so."""

    counter: TokenCounter
    """Of the audit."""
    judged: Sequence[EvalSet] = ()
    """By which chosen weights would be judged once more."""
    chosen_by: tuple[EvalSet, EvalSet] | None = None
    """What weights between base and tuned are chosen by: held-out queries, and the probe; None where none are tried."""

    def audit_seconds(self, pairs: Sequence[Pair], *, judge: Judge, judging: JudgedTime) -> float:
        """Of the audit: a part of the pairs was audited, and the texts whose scores are asked for were counted."""
        few = pairs[:_AUDITED]
        began = perf_counter()
        audit_pairs(lambda: enumerate(few, 1), counter=self.counter)
        audited = (perf_counter() - began) * min(len(pairs), MAX_TEXTS) / max(1, len(few))
        scored, _ = scored_pairs(lambda: enumerate(pairs, 1))
        documents = {text: Side.DOCUMENT for _, pair in scored for text in (pair.positive, *pair.negatives)}
        asked = [*((pair.anchor, Side.QUERY) for _, pair in scored), *documents.items()]
        return audited + judging.encoding.seconds_for(judge.work(asked))

    def blending_seconds(
        self, trained_tokens: int, *, judge: Judge, judging: JudgedTime, ks: Sequence[int]
    ) -> tuple[float, float]:
        """Of the weights that are tried, and of judging them where they take the place of the tuned ones."""
        if self.chosen_by is None:
            return 0.0, 0.0
        sample, probe = self.chosen_by
        num_points = affordable(Work.of(trained_tokens, judged=self.judged, probe=probe, sample=sample))
        if num_points is None:
            return 0.0, 0.0
        point, final = (judging.measuring_seconds(judge, sets, ks=ks) for sets in (self.chosen_by, self.judged))
        return (num_points - 2) * point, final
