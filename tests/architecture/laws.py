"""The five laws of the house, each a function from sources to the places that break it.

A finding is one line: where, what is wrong, and how to mend it.
"""

import ast
from collections.abc import Iterator

from tests.architecture.sources import PACKAGES, Import, Source, Sources, all_imports, imports, inside

Findings = list[str]

TORCH = ("torch", "transformers", "sentence_transformers", "safetensors.torch", "accelerate", "peft")
"""Importing one of these loads torch."""

_LIGHT_NAMES = (
    "config digest limits loss_config lora_config early_stopping pairs formats qrels metrics compare audit split "
    "mining_config "
    "tokens hub errors meeting lifeline file_limits compression dialects csv_rows pair_rows duplicates jsonl archive "
    "retention docstrings halves "
    "beir_rows parquet_rows json_list apart findings text_sample pair_keys near_duplicates length_picture layout "
    "cleaning audit_apart audit_process examples summary phrases charts report_page report_parts model_card "
    "tensorboard bounded_file model_tar foreign_model model_import logs traces"
)
LIGHT = tuple(f"infonce.{name}" for name in _LIGHT_NAMES.split())
"""What gateway, worker and notebook may import without paying for torch."""

MAY_LOAD_TORCH = ("service.embedder", "service.search", "worker.child", "worker.jobs")
"""Outside the library: the gateway's search and embedding side (deferred), and what runs in the child process."""

SQL = ("sqlalchemy", "alembic", "sqlite3", "psycopg")
ARTIFACT_FOLDERS = {"files", "models", "collections", "evaluations", "vectors", "runs", "tmp"}
QUEUE_NAMES = {"light", "medium"}
"""The names that are queues and nothing else; `train` is a kind of job as well."""


def law_1_library_stands_alone(sources: Sources) -> Findings:
    """`infonce` imports neither `service` nor `worker`."""
    mend = "the library knows no HTTP, queue or database: pass what it needs as an argument"
    return [_say(i, mend) for i in all_imports(sources) if _from(i, "infonce") and _to(i, "service", "worker")]


def law_1_a_bench_is_no_ground(sources: Sources) -> Findings:
    """Nothing but the commands imports `infonce.bench`, which measures the library from outside."""
    mend = "move what both need into a module of infonce"
    wrong = (i for i in all_imports(sources) if _to(i, "infonce.bench") and not _from(i, "infonce.bench"))
    return [_say(i, mend) for i in wrong if i.importer != "service.cli"]


def law_2_worker_sees_store_and_library(sources: Sources) -> Findings:
    """`worker` imports of `service` only `service.store`."""
    mend = "move what both need into service.store (records, queue names) or infonce"
    wrong = (i for i in all_imports(sources) if _from(i, "worker") and _to(i, "service"))
    return [_say(i, mend) for i in wrong if not _to(i, "service.store")]


def law_3_store_is_the_ground(sources: Sources) -> Findings:
    """`service.store` imports nothing else of ours."""
    mend = "the store knows records and SQL alone: let the caller do the rest"
    ours = (i for i in all_imports(sources) if _from(i, "service.store") and _to(i, *PACKAGES))
    return [_say(i, mend) for i in ours if not _to(i, "service.store")]


def law_3_only_the_store_speaks_sql(sources: Sources) -> Findings:
    """No database library is imported outside `service.store`."""
    mend = "write the statement as a function of service/store and call it"
    return [_say(i, mend) for i in all_imports(sources) if _to(i, *SQL) and not _from(i, "service.store")]


def law_3_only_the_store_names_artifact_paths(sources: Sources) -> Findings:
    """No folder of the artifact root is spelled out in a path outside `service.store`."""
    mend = "ask service.store.artifacts for the path, or take it from the work order"
    return [
        f"{source.path}:{node.lineno}: builds a path with {name!r}; {mend}"
        for source in _outside_store(sources)
        for node, name in _path_parts(source.tree)
        if name.split("/")[0] in ARTIFACT_FOLDERS
    ]


def law_3_only_the_store_names_queues(sources: Sources) -> Findings:
    """No queue's name is spelled out outside `service.store`."""
    mend = "import QUEUES or QUEUE_OF from service.store.queue"
    return [
        f"{source.path}:{node.lineno}: names the queue {node.value!r}; {mend}"
        for source in _outside_store(sources)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in QUEUE_NAMES
    ]


def law_4_service_and_worker_never_meet(sources: Sources) -> Findings:
    """`service` never imports `worker`; the other direction is law 2."""
    mend = "start the worker as a process; talk through job records"
    return [_say(i, mend) for i in all_imports(sources) if _from(i, "service") and _to(i, "worker")]


def law_5_light_modules_stay_light(sources: Sources) -> Findings:
    """The library's torch-free modules import nothing that loads torch, deferred imports included."""
    mend = "move what needs torch into another module of infonce"
    heavy = loads_torch(sources)
    return [_say(i, mend) for i in all_imports(sources) if i.importer in LIGHT and _is_heavy(i, heavy)]


def law_5_torch_has_its_places(sources: Sources) -> Findings:
    """In `service` and `worker` only the named modules import what loads torch."""
    mend = f"only {', '.join(MAY_LOAD_TORCH)} may; ask them, or do it in the child"
    heavy = loads_torch(sources)
    wrong = (i for i in all_imports(sources) if _from(i, "service", "worker") and _is_heavy(i, heavy))
    return [_say(i, mend) for i in wrong if not _from(i, *MAY_LOAD_TORCH)]


def law_5_gateway_starts_without_torch(sources: Sources) -> Findings:
    """No module of the gateway loads torch when it is imported, those that may use it included."""
    mend = "import it inside the function that needs it first"
    heavy = loads_torch(sources)
    wrong = (i for i in all_imports(sources) if _from(i, "service") and not i.deferred)
    return [_say(i, mend) for i in wrong if _is_heavy(i, heavy)]


LAWS = (
    law_1_library_stands_alone,
    law_1_a_bench_is_no_ground,
    law_2_worker_sees_store_and_library,
    law_3_store_is_the_ground,
    law_3_only_the_store_speaks_sql,
    law_3_only_the_store_names_artifact_paths,
    law_3_only_the_store_names_queues,
    law_4_service_and_worker_never_meet,
    law_5_light_modules_stay_light,
    law_5_torch_has_its_places,
    law_5_gateway_starts_without_torch,
)


def loads_torch(sources: Sources) -> set[str]:
    """The modules of ours whose import alone loads torch, through others too."""
    eager = {
        module: {i.target for i in imports(source, sources) if not i.deferred and not i.typing_only}
        for module, source in sources.items()
    }
    heavy = {module for module, targets in eager.items() if any(inside(target, *TORCH) for target in targets)}
    while more := {module for module, targets in eager.items() if targets & heavy} - heavy:
        heavy |= more
    return heavy


def _is_heavy(edge: Import, heavy: set[str]) -> bool:
    return not edge.typing_only and (_to(edge, *TORCH) or edge.target in heavy)


def _from(edge: Import, *packages: str) -> bool:
    return inside(edge.importer, *packages)


def _to(edge: Import, *packages: str) -> bool:
    return inside(edge.target, *packages)


def _say(edge: Import, mend: str) -> str:
    how = " inside a function" if edge.deferred else ""
    return f"{edge.importer}, line {edge.line}, imports {edge.target}{how}; {mend}"


def _outside_store(sources: Sources) -> Iterator[Source]:
    return (source for source in sources.values() if not inside(source.module, "service.store"))


def _path_parts(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """String constants that are put behind a path: `root / "x"`, `root.joinpath("x")`, `Path(root, "x")`."""
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.right]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] in ("joinpath", "Path", "join"):
            parts = list(node.args)
        for part in parts:
            first = part.values[0] if isinstance(part, ast.JoinedStr) and part.values else part
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield part, first.value
