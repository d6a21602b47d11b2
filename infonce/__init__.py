"""Fine-tune text encoders with InfoNCE, and judge what came of it.

The public names are loaded when first used (PEP 562), so that `import infonce.config` needs no torch. A function that
has its module's name is imported from there (`from infonce.train import train`): a package can hold but one of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infonce.compare import Comparison, Verdict
    from infonce.config import Attention, EncoderConfig, HardNegatives, Pooling, Precision, Prompts, Side, TrainConfig
    from infonce.encoder import Encoder
    from infonce.errors import InfonceError
    from infonce.evaluation import Evaluation, evaluate
    from infonce.hub import FoundModel, Hub, HubMode
    from infonce.index import Hits, VectorIndex
    from infonce.losses import info_nce
    from infonce.pairs import Pair
    from infonce.precision import Choice
    from infonce.qrels import EvalSet
    from infonce.tokens import TokenizedTexts
    from infonce.train import Progress, StepRecord, TrainResult
    from infonce.vectors import TextEncoder

_HOMES = {
    "Attention": "config",
    "Choice": "precision",
    "Comparison": "compare",
    "Encoder": "encoder",
    "EncoderConfig": "config",
    "EvalSet": "qrels",
    "Evaluation": "evaluation",
    "FoundModel": "hub",
    "HardNegatives": "config",
    "Hits": "index",
    "Hub": "hub",
    "HubMode": "hub",
    "InfonceError": "errors",
    "Pair": "pairs",
    "Pooling": "config",
    "Precision": "config",
    "Progress": "train",
    "Prompts": "config",
    "Side": "config",
    "StepRecord": "train",
    "TextEncoder": "vectors",
    "TokenizedTexts": "tokens",
    "TrainConfig": "config",
    "TrainResult": "train",
    "VectorIndex": "index",
    "Verdict": "compare",
    "evaluate": "evaluation",
    "info_nce": "losses",
}

__all__ = [
    "Attention",
    "Choice",
    "Comparison",
    "Encoder",
    "EncoderConfig",
    "EvalSet",
    "Evaluation",
    "FoundModel",
    "HardNegatives",
    "Hits",
    "Hub",
    "HubMode",
    "InfonceError",
    "Pair",
    "Pooling",
    "Precision",
    "Progress",
    "Prompts",
    "Side",
    "StepRecord",
    "TextEncoder",
    "TokenizedTexts",
    "TrainConfig",
    "TrainResult",
    "VectorIndex",
    "Verdict",
    "evaluate",
    "info_nce",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'infonce' has no attribute {name!r}")
    return getattr(import_module(f"infonce.{_HOMES[name]}"), name)
