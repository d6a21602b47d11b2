"""Does a tuned model still know what its base knew: a probe of two kinds of text from the Python installation itself.

Docstrings of the standard library (a first sentence asks, what follows answers) and packages (a summary asks, the
paragraphs of its description answer). Equal installations give equal probes. Texts are cut short: what counts is the
difference between two encoders, and a small job should not wait for it.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any, Final

from infonce.docstrings import Source, cut_at_a_word, distinct_docstrings
from infonce.errors import DatasetError, Issue
from infonce.qrels import EvalSet

METRIC: Final = "ndcg@10"
BOUND: Final = 0.01
"""How far the metric may fall, as training.md bounds it: a hundred queries of a thousand, each a tenth worse."""
MIN_QUERIES: Final = 1_000
MIN_DOCUMENTS: Final = 3_000

_SEED: Final = 42  # one for all jobs, so that the vectors of a base model are computed once
_MAX_CHARACTERS: Final = 72  # about 18 tokens, so that two models are measured in half a minute on two cores
_MAX_PARAGRAPHS: Final = 12  # of one package, so that no long manual fills the corpus
_MIN_WORDS: Final = 8
_MIN_SUMMARY_WORDS: Final = 3
_MARKUP: Final = re.compile(r"^\s*(?:[<|#\[!=*+`$>-]|\.\. |:\w+:)|```|::|</|\]\(|>>>")
_WORD: Final = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """The probe's nDCG@10 under base and tuned model; `num_queries` and `num_documents` are the probe's."""

    base: float
    tuned: float
    num_queries: int
    num_documents: int

    @property
    def delta(self) -> float:
        """Below 0 where the tuned model does worse."""
        return self.tuned - self.base

    @property
    def held(self) -> bool:
        """Whether the fall, if there is one, is within the bound."""
        return within_bound(self.base, self.tuned)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        sizes = {"num_queries": self.num_queries, "num_documents": self.num_documents}
        values = {"base": self.base, "tuned": self.tuned, "delta": self.delta}
        return {"metric": METRIC, **values, "bound": BOUND, "held": self.held, **sizes}


def within_bound(base: float, tuned: float) -> bool:
    """Whether what a model got on the probe is no more than the bound below what its base got."""
    return base - tuned <= BOUND


def build_probe(sources: Sequence[Source], *, stop: Callable[[], bool] = lambda: False) -> EvalSet:
    """A probe of both kinds; packages give at most half of the documents.

    Raises:
        DatasetError: there are too few texts.
        Stopped: `stop()` was true before a module was parsed.
    """
    corpus, queries, qrels = _packages(MIN_DOCUMENTS // 2)
    wanted = MIN_DOCUMENTS - len(corpus)
    found = distinct_docstrings(sources, count=wanted, seed=_SEED, stop=stop)[:wanted]
    asking = max(0, MIN_QUERIES - len(queries))
    if len(found) < max(wanted, asking):
        detail = f"this Python has {len(found)} docstrings and {len(corpus)} paragraphs about packages, together fewer"
        remedy = f"than {MIN_DOCUMENTS}; name an eval file of yours as evaluation.retention"
        raise DatasetError([Issue(line=None, field=None, code="too_few_texts", detail=f"{detail} {remedy}")])
    corpus |= {item.name: _cut(item.body) for item in found}
    queries |= {f"? {item.name}": _cut(item.sentence) for item in found[:asking]}
    qrels |= {f"? {item.name}": {item.name: 1} for item in found[:asking]}
    return EvalSet(corpus=corpus, queries=queries, qrels=qrels)


def _packages(limit: int) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Paragraphs about packages, at most so many, and the summaries that ask for them."""
    described = dict(sorted(_described()))
    names = random.Random(_SEED).sample(list(described), len(described))
    corpus: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for name in names:
        summary, paragraphs = described[name]
        if len(corpus) + len(paragraphs) > limit:
            continue
        documents = {f"package {name} {place}": text for place, text in enumerate(paragraphs)}
        corpus |= documents
        queries[f"? package {name}"] = summary
        qrels[f"? package {name}"] = dict.fromkeys(documents, 1)
    return corpus, queries, qrels


def _described() -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Name, summary and first paragraphs in prose of each installed package that has them."""
    for found in distributions():
        about = found.metadata
        name, summary, text = ((about.get_all(field) or [""])[0] for field in ("Name", "Summary", "Description"))
        prose = [_cut(part) for part in re.split(r"\n\s*\n", text) if _is_prose(part)]
        paragraphs = list(dict.fromkeys(prose))[:_MAX_PARAGRAPHS]
        if name and paragraphs and len(_WORD.findall(summary)) >= _MIN_SUMMARY_WORDS:
            yield re.sub(r"[-_.]+", "-", name).lower(), (_cut(summary), paragraphs)


def _is_prose(paragraph: str) -> bool:
    return not _MARKUP.search(paragraph) and len(_WORD.findall(paragraph)) >= _MIN_WORDS


def _cut(text: str) -> str:
    """In one line, and at most so long, ending at a word."""
    return cut_at_a_word(" ".join(text.split()), _MAX_CHARACTERS)
