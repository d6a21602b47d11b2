"""What a file's bytes come to, so that a damaged one is known."""

import hashlib
from pathlib import Path
from typing import Final

_HEAD: Final = b'{"digest": "%s", '
_HEAD_BYTES: Final = len(_HEAD % (64 * b"0"))


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file, in hexadecimal; read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signed(body: bytes) -> bytes:
    """The JSON object `body`, not an empty one, with the SHA-256 of its bytes as its first field."""
    return _HEAD % hashlib.sha256(body).hexdigest().encode() + body.removeprefix(b"{")


def unsigned(content: bytes) -> bytes:
    """The object that was signed.

    Raises:
        ValueError: a byte of it is another one.
    """
    body = b"{" + content[_HEAD_BYTES:]
    if signed(body) != content:
        raise ValueError("the object is not the one that was signed")
    return body
