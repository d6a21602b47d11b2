"""How large a file from somebody else may be; what is larger is refused, never cut."""

from dataclasses import dataclass, fields
from typing import Final

from infonce.limits import check_whole


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


DEFAULT_LIMITS: Final = FileLimits()
