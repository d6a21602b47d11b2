"""How large a file from somebody else may be; what is larger is refused, never cut."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Self

from infonce.errors import ConfigError
from infonce.limits import check_whole

TEXT_CHARACTERS: Final = "INFONCE_MAX_TEXT_CHARACTERS"
DOCUMENT_CHARACTERS: Final = "INFONCE_MAX_DOCUMENT_CHARACTERS"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLimits:
    """How large a file and its parts may be."""

    max_line_bytes: int = 1 << 20
    max_document_line_bytes: int = 4 << 20  # 262,144 characters may be escaped as 12 bytes each
    max_lines: int = 5_000_000
    """Of a file; as many pairs, where a line holds several."""
    max_documents: int = 1_000_000
    max_text_characters: int = 32_768
    max_document_characters: int = 262_144
    max_unpacked_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for field in fields(self):
            check_whole(field.name, getattr(self, field.name), low=1, high=1 << 50)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The usual limits, but for the longest text of a pair or query, and that of a document, where `env` has them.

        Lines are then as much longer as the texts.

        Raises:
            ConfigError: a value is not a whole number in its range.
        """
        usual = cls()
        text = _whole(env, TEXT_CHARACTERS, default=usual.max_text_characters, high=1 << 20)
        document = _whole(env, DOCUMENT_CHARACTERS, default=usual.max_document_characters, high=1 << 22)
        return cls(
            max_text_characters=text,
            max_document_characters=document,
            max_line_bytes=max(usual.max_line_bytes, usual.max_line_bytes // usual.max_text_characters * text),
            max_document_line_bytes=max(
                usual.max_document_line_bytes,
                usual.max_document_line_bytes // usual.max_document_characters * document,
            ),
        )


def _whole(env: Mapping[str, str], name: str, *, default: int, high: int) -> int:
    given = env.get(name, "")
    if not given:
        return default
    if not (given.isascii() and given.isdecimal()):
        raise ConfigError(f"{name} is {given!r}; it must be a whole number from 1 to {high}", param=name)
    check_whole(name, value := int(given), low=1, high=high)
    return value


DEFAULT_LIMITS: Final = FileLimits.from_env(os.environ)
"""Of this process: gateway, worker and the process that computes must be told the same."""
