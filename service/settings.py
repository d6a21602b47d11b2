"""What the gateway is told by its environment, read once when the process starts."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infonce.config import Precision
from infonce.hub import Hub
from service.errors import StartRefused
from service.store.settings import StoreSettings

MIN_FREE_BYTES = "INFONCE_MIN_FREE_BYTES"
DEFAULT_MIN_FREE_BYTES = 256 << 20  # a tuned MiniLM takes 90 MB; database and indexes of jobs that run now grow too
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
DEFAULT_MAX_UPLOAD_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """Where the gateway listens, what it stands on, and how much it takes."""

    store: StoreSettings
    hub: Hub
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    """0 lets the system choose a free one."""
    api_key_file: Path | None = None
    """A file whose only line is the first key."""
    max_upload_bytes: int = DEFAULT_MAX_UPLOAD_BYTES
    min_free_bytes: int = DEFAULT_MIN_FREE_BYTES
    """`INFONCE_MIN_FREE_BYTES`: stay free where the artifacts lie; uploads, documents and jobs are refused below."""
    threads: int = 1
    """Of the products of an embedding."""
    precision: Precision = Precision.FLOAT32
    """Of those products; `auto` measures each encoder when it is loaded."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Settings from `INFONCE_HOST`, `_PORT`, `_API_KEY_FILE`, `_MAX_UPLOAD_BYTES`, `_THREADS`, `_SERVING_PRECISION`
        and those of store and hub.

        Raises:
            StartRefused: a value is not what its name asks for.
            InvalidSetting: a place of the store is not set.
            ConfigError: there is no such precision, or hub mode.
        """
        key_file = env.get("INFONCE_API_KEY_FILE")
        return cls(
            store=StoreSettings.from_env(env),
            hub=Hub.from_env(env),
            host=env.get("INFONCE_HOST") or DEFAULT_HOST,
            port=_whole(env, "INFONCE_PORT", default=DEFAULT_PORT, low=0, high=65_535),
            api_key_file=Path(key_file) if key_file else None,
            max_upload_bytes=_whole(
                env, "INFONCE_MAX_UPLOAD_BYTES", default=DEFAULT_MAX_UPLOAD_BYTES, low=1, high=1 << 50
            ),
            min_free_bytes=_whole(env, MIN_FREE_BYTES, default=DEFAULT_MIN_FREE_BYTES, low=0, high=1 << 50),
            threads=_whole(env, "INFONCE_THREADS", default=os.cpu_count() or 1, low=1, high=1_024),
            precision=Precision.for_serving(env, default=Precision.FLOAT32),
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name may resolve to anything

    def first_key(self) -> str | None:
        """The key in `api_key_file`, if one is set.

        Raises:
            StartRefused: the file cannot be read or is empty.
        """
        if self.api_key_file is None:
            return None
        try:
            key = self.api_key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartRefused(f"INFONCE_API_KEY_FILE cannot be read: {error}") from error
        if not key:
            raise StartRefused(f"INFONCE_API_KEY_FILE {self.api_key_file} is empty; put a key into it or unset it")
        return key


def _whole(env: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or not low <= int(text[:20]) <= high:
        raise StartRefused(f"{name} is {text[:40]!r}; it must be a whole number between {low} and {high}")
    return int(text)
