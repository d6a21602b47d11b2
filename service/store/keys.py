"""API keys: `inf_<id8>_<secret>`, shown once, stored as a hash.

The secret has 256 random bits, so a plain SHA-256 is as good as a slow hash and costs a microsecond a request.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from service.store.database import Tx, insert
from service.store.errors import Conflict, InvalidValue
from service.store.records import DEFAULT_PROJECT, KeyRecord
from service.store.tables import api_keys, record_of, values_of

ADMIN: Final = "admin"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH = 8
_SECRET_LENGTH = 43  # base 62 digits that hold 32 bytes
_FORM = re.compile(r"inf_([0-9A-Za-z]{8})_([0-9A-Za-z]{32,128})")  # a key that an operator made may be longer
_LONGEST = 4 + 8 + 1 + 128
_NO_DIGEST = bytes(32)


def create(tx: Tx, project: str, *, name: str, now: float, scopes: Sequence[str] = (ADMIN,)) -> tuple[KeyRecord, str]:
    """A new key and its plain text, which is nowhere stored and cannot be shown again."""
    id, secret = _base62(secrets.randbits(47), _ID_LENGTH), _base62(secrets.randbits(256), _SECRET_LENGTH)
    key = KeyRecord(
        id=id, project=project, name=name, secret_sha256=_digest(secret), scopes=tuple(scopes), created_at=now
    )
    tx.execute(sa.insert(api_keys).values(values_of(key, api_keys)))
    return key, f"inf_{id}_{secret}"


def adopt(tx: Tx, plaintext: str, *, now: float) -> KeyRecord:
    """The given key is an admin key of the default project; adopting it again changes nothing.

    Raises:
        InvalidValue: it has not the form of a key.
        Conflict: another key has its id.
    """
    match = _FORM.fullmatch(plaintext)
    if match is None:
        raise InvalidValue("A key has the form inf_<8 letters or digits>_<32 to 128 letters or digits>")
    id, secret = match.groups()
    key = KeyRecord(
        id=id, project=DEFAULT_PROJECT, name="first", secret_sha256=_digest(secret), scopes=(ADMIN,), created_at=now
    )
    tx.execute(insert(tx, api_keys).values(values_of(key, api_keys)).on_conflict_do_nothing())
    stored = verify(tx, plaintext)
    if stored is None:
        raise Conflict("conflict", f"A key with the id {id} and another secret exists; give a key with another id")
    return stored


def verify(tx: Tx, plaintext: str) -> KeyRecord | None:
    """The key whose secret this is, or None; an unknown id takes as long as a wrong secret, and no text raises."""
    match = _FORM.fullmatch(plaintext) if len(plaintext) <= _LONGEST else None
    id, secret = match.groups() if match else ("", "")
    row = tx.execute(sa.select(api_keys).where(api_keys.c.id == id)).one_or_none()
    expected = _NO_DIGEST if row is None else bytes(row.secret_sha256)
    same = hmac.compare_digest(_digest(secret), expected)  # bytes: on text it raises for non-ASCII
    return _record(row) if row is not None and same else None


def any_key(tx: Tx) -> bool:
    """Whether a key exists at all."""
    return tx.execute(sa.select(api_keys.c.id).limit(1)).first() is not None


def _record(row: sa.Row[tuple[object, ...]]) -> KeyRecord:
    key = record_of(KeyRecord, row)
    return replace(key, secret_sha256=bytes(key.secret_sha256), scopes=tuple(key.scopes))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
