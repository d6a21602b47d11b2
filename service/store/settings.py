"""Where this process finds database, broker and artifacts; read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from service.store.errors import InvalidSetting

DATABASE_URL = "INFONCE_DATABASE_URL"
BROKER_URL = "INFONCE_BROKER_URL"
ARTIFACTS = "INFONCE_ARTIFACTS"
HOME_DATABASE = "infonce.db"
HOME_ARTIFACTS = "artifacts"
"""In the folder of a stack, and in a backup of it."""
READY_FILE = "INFONCE_READY_FILE"
"""Set by whoever starts a worker and waits for it: the file that appears once it takes jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreSettings:
    """The three places of the store; both URLs may hold a password, so neither is printed."""

    database_url: str = field(repr=False)
    artifacts: Path
    broker_url: str | None = field(default=None, repr=False)
    """None for a process that needs no queue, such as a migration."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Settings from `INFONCE_DATABASE_URL`, `INFONCE_ARTIFACTS` and, where set, `INFONCE_BROKER_URL`.

        Raises:
            InvalidSetting: database or artifacts are not set.
        """
        return cls(
            database_url=_required(env, DATABASE_URL, example="sqlite:////var/lib/infonce/store.db"),
            artifacts=Path(_required(env, ARTIFACTS, example="/var/lib/infonce/artifacts")).absolute(),
            broker_url=env.get(BROKER_URL) or None,
        )

    def require_broker(self) -> str:
        """The broker's URL.

        Raises:
            InvalidSetting: none is set.
        """
        if self.broker_url is None:
            raise InvalidSetting(BROKER_URL, "is not set; give for example redis://127.0.0.1:6379/0")
        return self.broker_url


def _required(env: Mapping[str, str], name: str, *, example: str) -> str:
    value = env.get(name)
    if not value:
        raise InvalidSetting(name, f"is not set; give for example {example}")
    return value
