"""A name becomes a folder in the known places, and nowhere else."""

from pathlib import Path

import pytest

from infonce.errors import ConfigError, InvalidModel, UnknownModel
from infonce.hub import MINILM, Hub, HubMode, Source, check_weights

OUTSIDE = ["../secret", "/etc", "a/../../secret", "http://169.254.169.254/", "a\x00b", "x" * 10_000, "", ".", "a/b/c"]


def model(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "config.json").write_text("{}")
    (root / name / "model.safetensors").touch()
    return root / name


def test_minilm_is_found_in_its_package() -> None:
    found = Hub(mode=HubMode.OFF).resolve(MINILM)
    assert found.source is Source.PACKAGE
    assert (found.path / "model.safetensors").is_file()


def test_weights_other_than_the_official_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(InvalidModel, match="not the official file"):
        check_weights(tmp_path / "model.safetensors")


def test_a_folder_under_the_root_is_found_by_its_name(tmp_path: Path) -> None:
    hub = Hub(models_root=tmp_path, mode=HubMode.OFF)
    plain = model(tmp_path, "plain")
    model(tmp_path, "org/name")
    assert hub.resolve("plain").path == plain
    assert hub.resolve("org/name").source is Source.FOLDER
    assert hub.known() == ["org/name", "plain", MINILM]


def test_the_cache_is_read_unless_the_hub_is_off(tmp_path: Path) -> None:
    snapshot = model(tmp_path, "models--org--name/snapshots/abc")
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("abc")
    found = Hub(cache_root=tmp_path).resolve("org/name")
    assert (found.source, found.path) == (Source.CACHE, snapshot)
    with pytest.raises(UnknownModel):
        Hub(cache_root=tmp_path, mode=HubMode.OFF).resolve("org/name")


def test_a_tuned_model_comes_first(tmp_path: Path) -> None:
    found = Hub().resolve("ft:minilm:faq:12345678", tuned=lambda name: tmp_path)
    assert (found.source, found.path) == (Source.TUNED, tmp_path)


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_the_known_places_is_reached(name: str, tmp_path: Path) -> None:
    model(tmp_path, "secret")
    with pytest.raises(UnknownModel, match=f"known are: {MINILM}"):
        Hub(models_root=tmp_path / "models", mode=HubMode.ALLOW, cache_root=tmp_path).resolve(name)


def test_a_link_out_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(model(tmp_path, "secret"))
    with pytest.raises(UnknownModel):
        Hub(models_root=tmp_path / "models", mode=HubMode.OFF).resolve("link")


def test_fetching_needs_permission_and_a_name_with_an_owner() -> None:
    with pytest.raises(UnknownModel, match="INFONCE_HUB is cache, not allow"):
        Hub().fetch("org/name")
    assert Hub(mode=HubMode.ALLOW).may_fetch("org/name")
    assert not Hub(mode=HubMode.ALLOW).may_fetch("../name")


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnknownModel, match="could not be downloaded"):
        Hub(mode=HubMode.ALLOW, cache_root=tmp_path).fetch("org/name")


def test_the_environment_is_read_and_a_wrong_word_refused() -> None:
    assert Hub.from_env({"INFONCE_HUB": "off", "INFONCE_MODELS": "/m"}) == Hub(models_root=Path("/m"), mode=HubMode.OFF)
    with pytest.raises(ConfigError, match="allow, cache or off"):
        Hub.from_env({"INFONCE_HUB": "yes"})
