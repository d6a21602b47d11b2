"""Fine-tune text encoders with InfoNCE, and judge what came of it.

The public names are loaded when first used (PEP 562), so that `import infonce.config` needs no torch. A function that
has its module's name is imported from there (`from infonce.train import train`): a package can hold but one of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infonce.compare import Comparison
    from infonce.config import EncoderConfig, Prompts, TrainConfig
    from infonce.encoder import Encoder
    from infonce.errors import InfonceError
    from infonce.evaluation import Evaluation, evaluate
    from infonce.hub import Hub
    from infonce.index import Hits, VectorIndex
    from infonce.losses import info_nce
    from infonce.pairs import Pair
    from infonce.qrels import EvalSet
    from infonce.train import StepRecord, TrainResult

_HOMES = {
    "Comparison": "compare",
    "Encoder": "encoder",
    "EncoderConfig": "config",
    "EvalSet": "qrels",
    "Evaluation": "evaluation",
    "Hits": "index",
    "Hub": "hub",
    "InfonceError": "errors",
    "Pair": "pairs",
    "Prompts": "config",
    "StepRecord": "train",
    "TrainConfig": "config",
    "TrainResult": "train",
    "VectorIndex": "index",
    "evaluate": "evaluation",
    "info_nce": "losses",
}

__all__ = [
    "Comparison",
    "Encoder",
    "EncoderConfig",
    "EvalSet",
    "Evaluation",
    "Hits",
    "Hub",
    "InfonceError",
    "Pair",
    "Prompts",
    "StepRecord",
    "TrainConfig",
    "TrainResult",
    "VectorIndex",
    "evaluate",
    "info_nce",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'infonce' has no attribute {name!r}")
    return getattr(import_module(f"infonce.{_HOMES[name]}"), name)
