"""The shape and the budgets of the house: cycles, names, lengths, parameters, inheritance, broad excepts.

As in `laws.py`, a finding says where, what is wrong, and how to mend it.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from tests.architecture.laws import Findings
from tests.architecture.sources import Sources, all_imports, inside

LAZY_EXPORTS = "infonce"
"""`infonce/__init__.py` names the public modules lazily: no edge of the import graph."""

BROAD_EXCEPTS = {
    "service.store.sweep:Sweep.run": "logs it, reaps nothing for one lease, sweeps on",
    "service.webhook_sender:WebhookSender.run": "logs it and sends on; what it had claimed is due again in a minute",
    "service.mover:Mover.run": "logs it and goes on; what it was at is tried again after its pause",
    "service.embedder:Embedder._run": "gives it to those who wait for the vectors, and goes on with the next batch",
    "worker.child:_work": "prints the traceback to the run's log, sends the parent the reason, ends with its exit code",
    "infonce.rank:_work": "prints the traceback, leaves its sentence for rank 0, ends with its exit code",
    "worker.lifecycle:guarded": "logs it and returns it; what left a Celery task could end the worker's main process",
    "infonce.tokens:load_tokenizer": "no loop: tokenizers raises bare Exception for a broken file, here InvalidModel",
}
"""Process loops that may catch everything -> what each does with the error."""

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 80
LONGER_FUNCTIONS = {"infonce.train:train": 120}
MAX_PARAMETERS = 6
MAX_POSITIONAL = 2
FREE_PARAMETERS = (
    "service.routes",
    "service.dependencies",
    "service.cli",
    "service.keys_cli",
    "service.upkeep",
    "service.jobs_cli",
    "service.search_cli",
    "service.doctor_cli",
    "infonce.cli",
    "infonce.bench.cli",
    "infonce.bench.search_cli",
    "infonce.train_command",
    "infonce.mine_command",
    "infonce.evaluate_command",
    "infonce.estimate_command",
    "infonce.audit_command",
    "infonce.report_command",
    "infonce.embed_command",
)
"""Commands, routes and what routes depend on: their parameters are the words of the user's request."""
FOREIGN_SIGNATURES = re.compile(
    r"[.]__a?exit__$|service[.](problems:RequestIds|admission:Admission|etags:Etags|observed:Observed)[.]__call__"
    r"|service[.]slow_bodies:BodyDeadline[.]__call__"
    r"|service[.]forms:Form[.]_(header_field|header_value|part_data)"
    r"|infonce[.]logs:_without_secrets$"
    r"|infonce[.]modules:InfoNCE[.](__init__|forward)$"
)
"""Methods that somebody else calls by position: the interpreter, an ASGI server, the multipart parser, structlog, and
programs that were written for info-nce-pytorch."""

VAGUE_MODULE = re.compile(r"(^|_)(utils?|helpers?|common|manager|misc)$|^base$")
VAGUE_CLASS = re.compile(r"(Manager|Helpers?|Utils?|Misc|Mixin)$")


def no_import_cycles(sources: Sources) -> Findings:
    """The import graph has no cycle, deferred and typing-only imports included."""
    graph: dict[str, set[str]] = {module: set() for module in sources if module != LAZY_EXPORTS}
    for edge in all_imports(sources):
        if edge.importer in graph and edge.target in graph and edge.target != edge.importer:
            graph[edge.importer].add(edge.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        way = " -> ".join(reversed(error.args[1]))  # graphlib walks from the imported to the importer
        return [f"import cycle {way}; move what both need into a module below both"]
    return []


def packages_are_empty(sources: Sources) -> Findings:
    """Every `__init__.py` is empty but for the library's."""
    return [
        f"{source.path}: is not empty; import from the module that defines the name"
        for source in sources.values()
        if source.is_package and source.module != LAZY_EXPORTS and source.text.strip()
    ]


def names_say_what_they_are(sources: Sources) -> Findings:
    """No module is called `utils` or the like, no class `…Manager`."""
    vague = [
        (source.path, name)
        for source in sources.values()
        if VAGUE_MODULE.search(name := source.module.rsplit(".", 1)[-1])
    ]
    vague += [
        (f"{source.path}:{node.lineno}", node.name)
        for source in sources.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name)
    ]
    return [
        f"{where}: the name {name} says nothing; name it after the one concept that it holds" for where, name in vague
    ]


def files_are_short(sources: Sources) -> Findings:
    """No file is longer than 300 lines."""
    return [
        f"{source.path}: {lines} lines, at most {MAX_FILE_LINES}; split it by concept"
        for source in sources.values()
        if (lines := len(source.text.splitlines())) > MAX_FILE_LINES
    ]


def functions_are_short(sources: Sources) -> Findings:
    """No function is longer than 80 lines; the training loop may reach 120."""
    found = []
    for source in sources.values():
        for name, node in functions(source.tree):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            limit = LONGER_FUNCTIONS.get(f"{source.module}:{name}", MAX_FUNCTION_LINES)
            if lines > limit:
                found.append(f"{source.path}:{node.lineno}: {name} has {lines} lines, at most {limit}; split it")
    return found


def parameters_are_few(sources: Sources) -> Findings:
    """At most six parameters, keyword-only after the second; commands and routes are free."""
    return [
        f"{source.path}:{node.lineno}: {name} {wrong}"
        for source in sources.values()
        if not inside(source.module, *FREE_PARAMETERS)
        for name, node in functions(source.tree)
        if not FOREIGN_SIGNATURES.search(f"{source.module}:{name}")
        for wrong in _too_many(node.args)
    ]


def _too_many(arguments: ast.arguments) -> Iterator[str]:
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    first = positional[0] if positional else ""
    num_positional = len(positional) - (first in ("self", "cls", "ctx"))
    total = num_positional + len(arguments.kwonlyargs) + bool(arguments.vararg) + bool(arguments.kwarg)
    if total > MAX_PARAMETERS:
        yield f"takes {total} parameters, at most {MAX_PARAMETERS}; pass a config or record object"
    if num_positional > MAX_POSITIONAL and first != "ctx":  # torch calls an autograd function's `forward(ctx, …)`
        yield f"takes {num_positional} by position, at most {MAX_POSITIONAL}; put `*, ` before the third"


def inheritance_is_shallow(sources: Sources) -> Findings:
    """A class of ours may have one of ours as parent, but no grandparent; error trees are free."""
    bases = {
        (module, node.name): [_resolve(sources, module, written=ast.unparse(base).split("[")[0]) for base in node.bases]
        for module, source in sources.items()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    }
    found = []
    for child, parents in bases.items():
        chain = [child]
        while ours := [base for base in bases.get(chain[-1], parents) if base in bases and base not in chain]:
            chain.append(ours[0])
        is_error = any(name.endswith(("Exception", "Error")) for _, name in bases[chain[-1]])
        if len(chain) > 2 and not is_error:
            way = " < ".join(name for _, name in chain)
            found.append(f"{sources[child[0]].path}: {way} is too deep; pass a part in instead of a third generation")
    return found


def _resolve(sources: Sources, module: str, *, written: str) -> tuple[str, str]:
    """(module, name) of the class that `module` calls `written`."""
    head, _, rest = written.partition(".")
    for node in ast.walk(sources[module].tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == head:
                    return (f"{node.module}.{alias.name}", rest) if rest else (node.module or "", alias.name)
    return module, written


def broad_excepts_are_listed(sources: Sources) -> Findings:
    """Everything is caught only in the process loops that are listed with what they do with it."""
    mend = "name the errors, or list the process loop in BROAD_EXCEPTS with what it does with them"
    return [
        f"{where}: {name} catches everything; {mend}"
        for name, where in _broad_excepts(sources)
        if name not in BROAD_EXCEPTS
    ]


def listed_loops_catch_everything(sources: Sources, listed: Iterable[str] = BROAD_EXCEPTS) -> Findings:
    """Each process loop that is listed does catch everything: the list names no loop that is gone."""
    found = {name for name, _ in _broad_excepts(sources)}
    return [
        f"BROAD_EXCEPTS lists {name}, which catches nothing broad; remove it" for name in listed if name not in found
    ]


def _broad_excepts(sources: Sources) -> Iterator[tuple[str, str]]:
    """(`module:function`, `path:line`) of each handler that catches everything."""
    for source in sources.values():
        named = list(functions(source.tree))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler | ast.Call) and _catches_everything(node):
                around = [name for name, body in named if any(inner is node for inner in ast.walk(body))]
                yield f"{source.module}:{max(around, key=len, default='<module>')}", f"{source.path}:{node.lineno}"


def _catches_everything(node: ast.ExceptHandler | ast.Call) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or _is_everything(node.type)
    is_suppress = ast.unparse(node.func).rsplit(".", 1)[-1] == "suppress"
    return is_suppress and any(_is_everything(argument) for argument in node.args)


def _is_everything(node: ast.expr) -> bool:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(ast.unparse(name) in ("Exception", "BaseException") for name in names)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its qualified name, methods and inner functions included."""
    for node in ast.iter_child_nodes(tree):
        below = prefix
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            below = f"{prefix}{node.name}."
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        yield from functions(node, below)


SHAPE = (
    no_import_cycles,
    packages_are_empty,
    names_say_what_they_are,
    files_are_short,
    functions_are_short,
    parameters_are_few,
    inheritance_is_shallow,
    broad_excepts_are_listed,
    listed_loops_catch_everything,
)
