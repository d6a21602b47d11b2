from pathlib import Path

import pytest

from service.store.errors import InvalidSetting
from service.store.settings import StoreSettings

FULL = {
    "INFONCE_DATABASE_URL": "postgresql://u:secret@host/db",
    "INFONCE_ARTIFACTS": "/data",
    "INFONCE_BROKER_URL": "redis://:secret@host/0",
}


def test_settings_come_from_the_environment_and_print_no_password() -> None:
    settings = StoreSettings.from_env(FULL)
    assert (settings.database_url, settings.artifacts) == ("postgresql://u:secret@host/db", Path("/data"))
    assert settings.require_broker() == "redis://:secret@host/0"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("name", ["INFONCE_DATABASE_URL", "INFONCE_ARTIFACTS"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_setting_is_named(name: str, value: str | None) -> None:
    env = {key: text for key, text in {**FULL, name: value}.items() if text is not None}
    with pytest.raises(InvalidSetting, match=f"{name} is not set") as caught:
        StoreSettings.from_env(env)
    assert caught.value.name == name


def test_a_process_without_a_queue_needs_no_broker() -> None:
    settings = StoreSettings.from_env({key: FULL[key] for key in FULL if "BROKER" not in key})
    assert settings.broker_url is None
    with pytest.raises(InvalidSetting, match="INFONCE_BROKER_URL is not set"):
        settings.require_broker()
