"""What the environment says, and what it may not say."""

from pathlib import Path
from typing import Any

import pytest

from infonce.errors import ConfigError
from service.errors import StartRefused
from service.settings import EdgeLimits, GatewaySettings

STORE = {"INFONCE_DATABASE_URL": "sqlite:////x/store.db", "INFONCE_ARTIFACTS": "/x/artifacts"}


def read(**env: str) -> GatewaySettings:
    return GatewaySettings.from_env(STORE | env)


def test_nothing_but_the_store_has_to_be_said() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.max_upload_bytes) == ("127.0.0.1", 8000, 1 << 30)
    assert settings.api_key_file is None and settings.first_key() is None


def test_everything_can_be_said() -> None:
    settings = read(INFONCE_HOST="0.0.0.0", INFONCE_PORT="0", INFONCE_MAX_UPLOAD_BYTES="5", INFONCE_API_KEY_FILE="/k")
    assert (settings.host, settings.port, settings.max_upload_bytes) == ("0.0.0.0", 0, 5)
    assert settings.api_key_file == Path("/k")


def test_the_precision_of_serving_is_one_that_exists() -> None:
    assert (read().precision, read(INFONCE_SERVING_PRECISION="int8").precision) == ("float32", "int8")
    with pytest.raises(ConfigError, match="INFONCE_SERVING_PRECISION is 'int4'; it must be one of auto, float32"):
        read(INFONCE_SERVING_PRECISION="int4")


def test_private_addresses_are_allowed_by_one_word_alone() -> None:
    name = "INFONCE_WEBHOOK_ALLOW_PRIVATE"
    assert [read(**{name: value}).webhook_allow_private for value in ("", "0", "1")] == [False, False, True]
    with pytest.raises(StartRefused, match=f"{name} is 'true'; it must be a whole number between 0 and 1"):
        read(**{name: "true"})


def test_what_embeddings_may_take_can_be_said() -> None:
    settings = read(INFONCE_MODEL_BYTES="1000", INFONCE_MAX_WAITING_CHARACTERS="7")
    assert (settings.model_bytes, settings.max_waiting_characters) == (1_000, 7)
    assert (read().model_bytes, read().max_waiting_characters) == (2 << 30, 4 << 20)


def test_how_many_indexes_stay_open_can_be_said() -> None:
    assert (read(INFONCE_MAX_OPEN_INDEXES="20").max_open_indexes, read().max_open_indexes) == (20, 8)
    with pytest.raises(StartRefused, match="INFONCE_MAX_OPEN_INDEXES is '0'; it must be a whole number between 1"):
        read(INFONCE_MAX_OPEN_INDEXES="0")


@pytest.mark.parametrize("value", ["-1", "65536", "8e3", "eight", "٨", "9" * 5_000])
def test_a_port_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(StartRefused, match=r"INFONCE_PORT is .* between 0 and 65535"):
        read(INFONCE_PORT=value)


def test_how_many_callers_are_served_at_once_can_be_said() -> None:
    said = {"CONNECTIONS": "50", "SEARCHES": "1", "UPLOADS": "2", "BODIES": "5", "CHANGES": "3", "READS": "4"}
    edge = read(**{f"INFONCE_MAX_{name}": number for name, number in said.items()}).edge
    assert edge == EdgeLimits(
        max_connections=50, num_searches=1, num_uploads=2, num_bodies=5, num_changes=3, num_reads=4
    )
    assert (edge.num_threads, read().edge.num_threads) == (20, 48)  # the framework itself has 40


@pytest.mark.parametrize("name", ["CONNECTIONS", "SEARCHES", "UPLOADS", "BODIES", "CHANGES", "READS"])
def test_a_gateway_that_serves_nobody_is_refused(name: str) -> None:
    with pytest.raises(StartRefused, match=f"INFONCE_MAX_{name} is '0'; it must be a whole number between"):
        read(**{f"INFONCE_MAX_{name}": "0"})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_only_loopback_is_loopback(host: str, loopback: bool) -> None:
    assert read(INFONCE_HOST=host).loopback is loopback


@pytest.mark.parametrize("content", [None, b"", b" \n", "schlüssel".encode()])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartRefused, match="INFONCE_API_KEY_FILE"):
        read(INFONCE_API_KEY_FILE=str(path)).first_key()
