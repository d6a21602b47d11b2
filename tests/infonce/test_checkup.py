"""What the doctor says of the library's side: a level and, where something is wrong, a remedy."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from infonce.checkup import Level, check_memory, check_model, check_packages, check_pins, check_python, library_checks
from infonce.hub import MINILM


def nothing_installed(name: str) -> str:
    raise PackageNotFoundError(name)


def test_this_installation_is_sound() -> None:
    pins = Path(__file__).parents[2] / "constraints.txt"
    checks = {check.name: check for check in library_checks({}, pins=pins)}
    assert set(checks) == {"python", "packages", "pins", "torch", "threads", "memory", "base model"}
    assert {name for name, check in checks.items() if check.level is Level.FAIL} <= {"memory"}
    assert all((check.remedy is None) == (check.level is Level.OK) for check in checks.values())


def test_an_old_python_and_little_memory_are_told() -> None:
    assert check_python((3, 10)).level is Level.FAIL
    levels = [check_memory(num_bytes).level for num_bytes in (500_000_000, 1_500_000_000, 3_000_000_000)]
    assert levels == [Level.FAIL, Level.WARN, Level.OK]


def test_missing_and_foreign_packages_are_named() -> None:
    missing = check_packages(nothing_installed)
    assert missing.level is Level.FAIL and "numpy is missing" in missing.said
    assert "redis is 1.0, needed is" in check_packages(lambda name: "1.0").said


def test_versions_that_were_not_tested_are_a_warning() -> None:
    pins = "# a remark\nnumpy==2.4.6\ntorch==2.13.0\n"
    other = check_pins(pins, lambda name: {"numpy": "2.5.0", "torch": "2.13.0+cpu"}[name])
    assert (other.level, other.said) == (Level.WARN, "not the tested versions: numpy 2.5.0 (tested: 2.4.6)")
    assert check_pins(pins, nothing_installed).level is Level.OK


def test_a_base_model_that_is_not_the_official_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / MINILM
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    found = check_model({"INFONCE_MODELS": str(tmp_path)})
    assert found.level is Level.FAIL and found.remedy is not None
