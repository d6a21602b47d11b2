"""Content-Digest (RFC 9530): what the sender says of the bytes, compared with what arrived."""

import base64
import binascii
import re
from typing import Final

from service.errors import ServiceError

_SHA256: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]*):\s*(?=,|$)")
_NUM_BYTES: Final = 32


def stated_sha256(field: str) -> str:
    """The sha-256 that the field states, in hexadecimal digits.

    Raises:
        ServiceError: it states none that can be checked.
    """
    found = _SHA256.findall(field)
    try:
        digest = base64.b64decode(found[-1], validate=True) if found else b""
    except binascii.Error:
        digest = b""
    if len(digest) != _NUM_BYTES:
        message = f"Content-Digest is {field[:100]!r} and states no sha-256; send sha-256=:<base64 of 32 bytes>:"
        raise ServiceError("digest_mismatch", message)
    return digest.hex()


def check_sha256(stated: str | None, found: str, *, what: str) -> None:
    """Raise unless they are equal, or nothing was stated."""
    if stated is not None and stated != found:
        message = f"{what} has the sha-256 {found} and its Content-Digest says {stated}; send it again"
        raise ServiceError("digest_mismatch", message)
