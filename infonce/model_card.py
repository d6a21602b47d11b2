"""The card that a model carries in its folder, in the form of the Hugging Face hub; knows no torch.

It names no path of this machine, and no text of the data stands in it: a card is sent on with the weights.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infonce.phrases import forgets, headline, metric_name, number, printable, retention_of, searched, signed
from infonce.report_page import TEMPLATES

MODEL_CARD: Final = "README.md"

_ON_THE_HUB: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""What a card may name as its base model; a model that was tuned here, or a folder, is none of the hub's."""

_SHOWN_SETTINGS: Final = (
    "n_epochs",
    "batch_size",
    "learning_rate",
    "temperature",
    "max_seq_length",
    "negatives",
    "seed",
)


def model_card(report: Mapping[str, Any]) -> str:
    """Front matter that the hub and sentence-transformers read, what the model is for, and how it was measured."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown: every value that a user chose goes through `code` instead
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _code, "signed": signed, "metric": metric_name, "number": number}
    environment.filters["searched"] = searched
    base = str(report["model"])
    settings = {row["name"]: row["became"] for row in report.get("settings", [])}
    kept = (report.get("summary") or {}).get("retention") or {}
    return environment.get_template("model_card.md").render(
        report=report,
        base=base,
        base_yaml=json.dumps(base) if _ON_THE_HUB.fullmatch(base) else None,
        headline=headline(report),
        forgets=forgets(report),
        retention=retention_of(kept) if kept.get("held") is not None else None,
        alpha=(report.get("interpolation") or {}).get("alpha", 1),
        evaluations=(report.get("summary") or {}).get("evaluations", []),
        settings=[(name, settings[name]) for name in _SHOWN_SETTINGS if name in settings],
        prompts=report["encoder"]["prompts"],
    )


def _code(value: object) -> str:
    """A value as a code span, on one line, that nothing in it can end."""
    line = printable(" ".join(str(value).split()))
    return "`" + line.replace("`", "'").replace("|", "¦") + "`"
