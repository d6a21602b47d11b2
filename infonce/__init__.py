"""Fine-tune text encoders with InfoNCE, and judge what came of it.

The public names are loaded when first used (PEP 562), so that `import infonce.config` needs no torch. A function that
has its module's name is imported from there (`from infonce.train import train`): a package can hold but one of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infonce.audit import Audit, AuditWatch, audit_file, audit_pairs
    from infonce.candidates import Dropped
    from infonce.checkpoint import Checkpoints
    from infonce.compare import Comparison, Verdict
    from infonce.config import Attention, EncoderConfig, HardNegatives, Pooling, Precision, Prompts, Side, TrainConfig
    from infonce.dialects import Dialect, FieldMapping
    from infonce.distributed import Processes
    from infonce.early_stopping import EarlyStopping
    from infonce.encoder import Encoder
    from infonce.errors import InfonceError, Issue, LossInputError
    from infonce.evaluation import Evaluation, evaluate
    from infonce.findings import Finding, FindingCode, FindingLevel, Findings
    from infonce.gradcache import GradCache
    from infonce.groups import Groups
    from infonce.hub import FoundModel, Hub, HubMode
    from infonce.index import Hits, VectorIndex
    from infonce.index_config import IndexConfig, IndexType
    from infonce.length_picture import TokenCounter
    from infonce.lora_config import LoraConfig
    from infonce.loss_config import LossConfig, Negatives
    from infonce.losses import info_nce, info_nce_of_each, multi_positive_info_nce, nt_xent
    from infonce.mining import MinedPair, Mining, MiningCounts, MiningSeconds, mine
    from infonce.mining_config import MiningConfig, Retriever, Sampling
    from infonce.modules import InfoNCE, SymmetricInfoNCE
    from infonce.pair_keys import PairKeys
    from infonce.pairs import Pair
    from infonce.precision import Choice
    from infonce.qrels import EvalSet
    from infonce.records import Beside, Evaluate, Progress, StepRecord, TrainResult
    from infonce.temperature import LearnedTemperature
    from infonce.text_sample import SampledText
    from infonce.tokens import TokenizedTexts
    from infonce.vectors import TextEncoder

_HOMES = {
    "Attention": "config",
    "Audit": "audit",
    "AuditWatch": "audit",
    "Checkpoints": "checkpoint",
    "Choice": "precision",
    "Beside": "records",
    "Comparison": "compare",
    "Dialect": "dialects",
    "Dropped": "candidates",
    "EarlyStopping": "early_stopping",
    "Encoder": "encoder",
    "EncoderConfig": "config",
    "EvalSet": "qrels",
    "Evaluate": "records",
    "Evaluation": "evaluation",
    "FieldMapping": "dialects",
    "Finding": "findings",
    "FindingCode": "findings",
    "FindingLevel": "findings",
    "Findings": "findings",
    "FoundModel": "hub",
    "GradCache": "gradcache",
    "Groups": "groups",
    "HardNegatives": "config",
    "Hits": "index",
    "IndexConfig": "index_config",
    "IndexType": "index_config",
    "Hub": "hub",
    "HubMode": "hub",
    "InfoNCE": "modules",
    "InfonceError": "errors",
    "Issue": "errors",
    "LearnedTemperature": "temperature",
    "LoraConfig": "lora_config",
    "LossConfig": "loss_config",
    "LossInputError": "errors",
    "MinedPair": "mining",
    "Mining": "mining",
    "MiningConfig": "mining_config",
    "MiningCounts": "mining",
    "MiningSeconds": "mining",
    "Negatives": "loss_config",
    "Pair": "pairs",
    "PairKeys": "pair_keys",
    "Pooling": "config",
    "Precision": "config",
    "Processes": "distributed",
    "Progress": "records",
    "Prompts": "config",
    "Retriever": "mining_config",
    "SampledText": "text_sample",
    "Sampling": "mining_config",
    "Side": "config",
    "StepRecord": "records",
    "SymmetricInfoNCE": "modules",
    "TextEncoder": "vectors",
    "TokenCounter": "length_picture",
    "TokenizedTexts": "tokens",
    "TrainConfig": "config",
    "TrainResult": "records",
    "VectorIndex": "index",
    "Verdict": "compare",
    "audit_file": "audit",
    "audit_pairs": "audit",
    "evaluate": "evaluation",
    "info_nce": "losses",
    "info_nce_of_each": "losses",
    "mine": "mining",
    "multi_positive_info_nce": "losses",
    "nt_xent": "losses",
}

__all__ = [
    "Attention",
    "Audit",
    "AuditWatch",
    "Beside",
    "Checkpoints",
    "Choice",
    "Comparison",
    "Dialect",
    "Dropped",
    "EarlyStopping",
    "Encoder",
    "EncoderConfig",
    "EvalSet",
    "Evaluate",
    "Evaluation",
    "FieldMapping",
    "Finding",
    "FindingCode",
    "FindingLevel",
    "Findings",
    "FoundModel",
    "GradCache",
    "Groups",
    "HardNegatives",
    "Hits",
    "Hub",
    "HubMode",
    "IndexConfig",
    "IndexType",
    "InfoNCE",
    "InfonceError",
    "Issue",
    "LearnedTemperature",
    "LoraConfig",
    "LossConfig",
    "LossInputError",
    "MinedPair",
    "Mining",
    "MiningConfig",
    "MiningCounts",
    "MiningSeconds",
    "Negatives",
    "Pair",
    "PairKeys",
    "Pooling",
    "Precision",
    "Processes",
    "Progress",
    "Prompts",
    "Retriever",
    "SampledText",
    "Sampling",
    "Side",
    "StepRecord",
    "SymmetricInfoNCE",
    "TextEncoder",
    "TokenCounter",
    "TokenizedTexts",
    "TrainConfig",
    "TrainResult",
    "VectorIndex",
    "Verdict",
    "audit_file",
    "audit_pairs",
    "evaluate",
    "info_nce",
    "info_nce_of_each",
    "mine",
    "multi_positive_info_nce",
    "nt_xent",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'infonce' has no attribute {name!r}")
    return getattr(import_module(f"infonce.{_HOMES[name]}"), name)
