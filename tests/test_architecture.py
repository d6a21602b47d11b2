"""The laws and budgets hold, the light modules load no torch, and the checker itself can fail."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import pytest

from service.valkey import find_program
from tests.architecture import laws, shape
from tests.architecture.sources import Sources, collect, read_sources
from tests.end_to_end.processes import Processes, answers, free_port

ROOT = Path(__file__).parents[1]
Rule = Callable[[Sources], list[str]]
RULES: tuple[Rule, ...] = (*laws.LAWS, *shape.SHAPE)
READY_SECONDS = 2.0
STARTS = 3  # the best counts: the machine may be busy with something else, the code is the same each time

WITHOUT_TORCH = (
    *(
        "infonce.config",
        "infonce.pairs",
        "infonce.formats",
        "infonce.qrels",
        "infonce.metrics",
        "infonce.compare",
        "infonce.audit",
    ),
    *("infonce.tokens", "infonce.hub", "infonce.errors"),
    *("service.app", "service.cli", "service.embedder", "service.search", "service.supervisor"),
    *("worker.app", "worker.tasks", "worker.lifecycle"),
)


@pytest.fixture(scope="module")
def house() -> Sources:
    return read_sources(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: Rule, house: Sources) -> None:
    findings = rule(house)
    assert not findings, "\n".join([rule.__doc__ or "", *findings])


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_importing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split()) & {name.split(".")[0] for name in laws.TORCH if "." not in name}
    assert not loaded, f"importing {module} loads {loaded}; find the way with python -X importtime -c 'import {module}'"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A migrated store and a running broker, beside which processes can be started."""

    processes: Processes
    environment: dict[str, str]

    def seconds_until(self, ready: Callable[[], bool], *command: str) -> float:
        """How long after its start the process was ready; it has ended when this returns.

        The time during which it could have run and had no processor is the machine's, not ours, and does not count.
        """
        began = time.monotonic()
        process = self.processes.start("measured", command, environment=self.environment)
        self.processes.wait_for("measured", ready)
        seconds = time.monotonic() - began - seconds_without_processor(process.pid)
        self.processes.end("measured")
        return seconds


def seconds_without_processor(pid: int) -> float:
    """How long the process's first thread stood in the run queue, where the kernel counts it (proc(5), schedstat)."""
    path = Path(f"/proc/{pid}/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    port = free_port()
    environment = {
        "INFONCE_DATABASE_URL": f"sqlite:///{tmp_path}/infonce.db",
        "INFONCE_BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "INFONCE_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    with Processes(tmp_path) as processes:
        processes.start("broker", [str(find_program()), "--port", str(port), "--save", ""], environment={})
        migrate = processes.start("migrate", ["infonce", "migrate"], environment=environment)
        assert migrate.wait(30) == 0, processes.log("migrate").read_text()
        yield Site(processes=processes, environment=environment)


def test_the_gateway_is_ready_in_two_seconds(site: Site) -> None:
    seconds: list[float] = []
    while len(seconds) < STARTS and min(seconds, default=inf) > READY_SECONDS:
        port = free_port()
        ready = partial(answers, f"http://127.0.0.1:{port}/readyz")
        seconds.append(site.seconds_until(ready, "infonce", "gateway", "--port", str(port)))
    assert min(seconds) <= READY_SECONDS, (
        f"{seconds}; see what it imports: python -X importtime -c 'import service.app'"
    )


def test_a_worker_is_ready_in_two_seconds(site: Site, tmp_path: Path) -> None:
    seconds: list[float] = []
    while len(seconds) < STARTS and min(seconds, default=inf) > READY_SECONDS:
        sign = tmp_path / f"ready-{len(seconds)}"
        site.environment["INFONCE_READY_FILE"] = str(sign)
        seconds.append(site.seconds_until(sign.exists, "infonce", "worker", "--queue", "light"))
    assert min(seconds) <= READY_SECONDS, f"{seconds}; look at python -X importtime -c 'import worker.app'"


BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (laws.law_1_library_stands_alone, {"infonce/a.py": "def f():\n    import service.app"}, "service.app"),
    (laws.law_1_a_bench_is_no_ground, {"infonce/a.py": "from infonce.bench.limit import Encoded"}, "bench.limit"),
    (laws.law_2_worker_sees_store_and_library, {"worker/a.py": "from service import submit"}, "service"),
    (laws.law_3_store_is_the_ground, {"service/store/a.py": "from infonce.pairs import Pair"}, "infonce.pairs"),
    (laws.law_3_only_the_store_speaks_sql, {"worker/a.py": "from sqlalchemy import text"}, "sqlalchemy"),
    (laws.law_3_only_the_store_names_artifact_paths, {"service/a.py": "x = root / 'models' / name"}, "'models'"),
    (laws.law_3_only_the_store_names_artifact_paths, {"worker/a.py": "x = root / f'runs/{job}'"}, "'runs/'"),
    (laws.law_3_only_the_store_names_queues, {"worker/a.py": "x = Queue('light')"}, "'light'"),
    (laws.law_4_service_and_worker_never_meet, {"service/a.py": "import_module('worker.tasks')"}, "worker.tasks"),
    (
        laws.law_5_light_modules_stay_light,
        {"infonce/hub.py": "def f():\n    from infonce import encoder", "infonce/encoder.py": "import torch.nn"},
        "infonce.encoder inside a function",
    ),
    (
        laws.law_5_torch_has_its_places,
        {
            "worker/tasks.py": "from infonce.train import train",
            "infonce/train.py": "from transformers import AutoModel",
        },
        "infonce.train",
    ),
    (laws.law_5_gateway_starts_without_torch, {"service/embedder.py": "import torch"}, "torch"),
    (
        shape.no_import_cycles,
        {"infonce/a.py": "from infonce.b import B", "infonce/b.py": "def f():\n    from infonce import a"},
        "infonce.a -> infonce.b",
    ),
    (shape.packages_are_empty, {"service/__init__.py": "from service.app import app"}, "service/__init__.py"),
    (shape.names_say_what_they_are, {"infonce/text_utils.py": ""}, "text_utils"),
    (shape.names_say_what_they_are, {"infonce/a.py": "class IndexManager: ..."}, "IndexManager"),
    (shape.files_are_short, {"infonce/a.py": "x = 1\n" * 301}, "301 lines"),
    (shape.functions_are_short, {"infonce/a.py": "def f():\n" + "    x = 1\n" * 80}, "81 lines"),
    (shape.functions_are_short, {"infonce/train.py": "def train():\n" + "    x = 1\n" * 120}, "121 lines"),
    (shape.parameters_are_few, {"infonce/a.py": "def f(a, b, *, c, d, e, f, g): ..."}, "7 parameters"),
    (shape.parameters_are_few, {"infonce/a.py": "class A:\n    def f(self, a, b, c): ..."}, "3 by position"),
    (shape.inheritance_is_shallow, {"infonce/a.py": "class A: ...\nclass B(A): ...\nclass C(B): ..."}, "C < B < A"),
    (
        shape.inheritance_is_shallow,
        {"infonce/a.py": "class A: ...\nclass B(A): ...", "worker/b.py": "from infonce import a\nclass C(a.B): ..."},
        "C < B < A",
    ),
    (shape.broad_excepts_are_listed, {"infonce/a.py": "try: f()\nexcept: ..."}, "infonce.a:<module>"),
    (
        shape.broad_excepts_are_listed,
        {"infonce/a.py": "class A:\n    def f(self):\n        try: g()\n        except (OSError, Exception): raise"},
        "infonce.a:A.f",
    ),
    (shape.broad_excepts_are_listed, {"infonce/a.py": "with suppress(BaseException): f()"}, "infonce.a:<module>"),
]

SOUND: dict[str, str] = {
    "infonce/__init__.py": "def __getattr__(name):\n    return import_module('infonce.a')",
    "infonce/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    "class Bad(Exception): ...\nclass Worse(Bad): ...\nclass Worst(Worse): ...\n"
    "def f(a, b, *, c, d, e, f): ...\ntry: ...\nexcept ValueError: ...",
    "infonce/config.py": "from infonce.a import f",
    "infonce/encoder.py": "import torch\nfrom infonce.config import f",
    "infonce/train.py": "def train():\n" + "    x = 1\n" * 119,
    "service/__init__.py": "",
    "service/embedder.py": "def load():\n    from infonce.encoder import Encoder",
    "service/routes/jobs.py": "from service import embedder\ndef create(a, b, c, d, e, f, g): ...",
    "service/store/artifacts.py": "import sqlalchemy\nx = root / 'models'\nq = 'light'",
    "worker/jobs/train.py": "import torch\nfrom service.store import artifacts\nx = models / name\ny = 'Queue light.'",
}


@pytest.mark.parametrize(("rule", "texts", "expected"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_the_checker_finds_the_broken_place(rule: Rule, texts: dict[str, str], expected: str) -> None:
    findings = rule(collect(texts))
    assert any(expected in finding and ";" in finding for finding in findings), findings


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_checker_leaves_a_sound_house_alone(rule: Rule) -> None:
    assert rule is shape.listed_loops_catch_everything or rule(collect(SOUND)) == []


def test_a_listed_loop_that_catches_nothing_is_reported() -> None:
    assert shape.listed_loops_catch_everything(collect(SOUND), []) == []
    assert "infonce.a:f" in shape.listed_loops_catch_everything(collect(SOUND), ["infonce.a:f"])[0]


def test_relative_imports_are_resolved() -> None:
    sources = collect({"service/store/jobs.py": "from ..app import x", "service/app.py": ""})
    assert "service.app" in laws.law_3_store_is_the_ground(sources)[0]
