"""API keys: `inf_<id8>_<secret>`, shown once, stored as a hash, good until they expire or are revoked.

The secret has 256 random bits, so a plain SHA-256 is as good as a slow hash and costs a microsecond a request.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from service.store import projects
from service.store.database import Tx, insert
from service.store.errors import Conflict, InvalidValue, NotFound
from service.store.paging import window
from service.store.records import DEFAULT_PROJECT, KeyRecord, Page, Scope
from service.store.tables import api_keys, record_of, values_of

TOUCH_SECONDS: Final = 60.0
"""How exactly it is known when a key was last used: a write at every request would be one too many."""

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH = 8
_SECRET_LENGTH = 43  # base 62 digits that hold 32 bytes
_FORM = re.compile(r"inf_([0-9A-Za-z]{8})_([0-9A-Za-z]{32,128})")  # a key that an operator made may be longer
_LONGEST = 4 + 8 + 1 + 128
_NO_DIGEST = bytes(32)


def create(
    tx: Tx,
    project: str,
    *,
    name: str,
    now: float,
    scopes: Sequence[Scope] = (Scope.ADMIN,),
    expires_at: float | None = None,
) -> tuple[KeyRecord, str]:
    """A new key and its plain text, which is nowhere stored and cannot be shown again; its project exists now."""
    projects.ensure(tx, project, now=now)
    id, secret = _base62(secrets.randbits(47), _ID_LENGTH), _base62(secrets.randbits(256), _SECRET_LENGTH)
    key = KeyRecord(
        id=id,
        project=project,
        name=name,
        secret_sha256=_digest(secret),
        scopes=tuple(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    tx.execute(sa.insert(api_keys).values(values_of(key, api_keys)))
    return key, f"inf_{id}_{secret}"


def labelled(tx: Tx, key: KeyRecord, *, metadata: Mapping[str, str]) -> KeyRecord:
    """The key with this metadata in place of what it had."""
    tx.execute(sa.update(api_keys).where(api_keys.c.id == key.id).values(metadata=metadata))
    return replace(key, metadata=metadata)


def rotate(tx: Tx, id: str, *, project: str | None, now: float, grace_seconds: float) -> tuple[KeyRecord, str]:
    """A new key that is what the old one was, for as long, and its plain text; the old one counts for a while at most.

    Raises:
        NotFound: there is no such key, or none of that project.
        Conflict: it was revoked or replaced, or has expired (`key_ended`).
    """
    old = _held(tx, id, project=project)
    if not is_good(old, now) or old.rotated_at is not None:
        raise Conflict("key_ended", f"The key {id} was revoked or replaced, or has expired; make a new one")
    expires_at = None if old.expires_at is None else now + old.expires_at - old.created_at
    new, plaintext = create(tx, old.project, name=old.name, now=now, scopes=old.scopes, expires_at=expires_at)
    new = labelled(tx, new, metadata=old.metadata)
    ends = now + grace_seconds if old.expires_at is None else min(old.expires_at, now + grace_seconds)
    tx.execute(sa.update(api_keys).where(api_keys.c.id == id).values(expires_at=ends, rotated_at=now))
    return new, plaintext


def revoke(tx: Tx, id: str, *, project: str | None, now: float) -> KeyRecord:
    """The key opens nothing from now on; one that was revoked stays so.

    Raises:
        NotFound: there is no such key, or none of that project.
    """
    key = _held(tx, id, project=project)
    if key.revoked_at is not None:
        return key
    tx.execute(sa.update(api_keys).where(api_keys.c.id == id).values(revoked_at=now))
    return replace(key, revoked_at=now)


def get(tx: Tx, id: str, *, project: str | None) -> KeyRecord:
    """The key of that project, or of any for None.

    Raises:
        NotFound: there is none.
    """
    return _one(tx, _of(project), id=id)


def page_keys(tx: Tx, project: str | None, *, page: Page) -> tuple[list[KeyRecord], bool]:
    """A window of the keys of that project, or of all, ended ones among them, and whether more follow.

    Raises:
        BadCursor: `page.after` is not in the list.
    """
    rows, more = window(tx, _of(project), table=api_keys, page=page)
    return [_record(row) for row in rows], more


def touch(tx: Tx, id: str, *, now: float) -> None:
    """The key was used about now."""
    stale = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < now - TOUCH_SECONDS)
    tx.execute(sa.update(api_keys).where(api_keys.c.id == id, stale).values(last_used_at=now))


def is_good(key: KeyRecord, now: float) -> bool:
    """Whether it was neither revoked nor has expired."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def adopt(tx: Tx, plaintext: str, *, now: float) -> KeyRecord:
    """The given key is an admin key of the default project; adopting it again changes nothing and revives none.

    Raises:
        InvalidValue: it has not the form of a key.
        Conflict: another key has its id.
    """
    match = _FORM.fullmatch(plaintext)
    if match is None:
        raise InvalidValue("A key has the form inf_<8 letters or digits>_<32 to 128 letters or digits>")
    id, secret = match.groups()
    key = KeyRecord(
        id=id,
        project=DEFAULT_PROJECT,
        name="first",
        secret_sha256=_digest(secret),
        scopes=(Scope.ADMIN,),
        created_at=now,
    )
    projects.ensure(tx, DEFAULT_PROJECT, now=now)
    tx.execute(insert(tx, api_keys).values(values_of(key, api_keys)).on_conflict_do_nothing())
    stored = get(tx, id, project=None)
    if not hmac.compare_digest(stored.secret_sha256, _digest(secret)):
        raise Conflict("conflict", f"A key with the id {id} and another secret exists; give a key with another id")
    return stored


def verify(tx: Tx, plaintext: str, *, now: float) -> KeyRecord | None:
    """The good key whose secret this is, or None; an unknown id takes as long as a wrong secret, and no text raises."""
    match = _FORM.fullmatch(plaintext) if len(plaintext) <= _LONGEST else None
    id, secret = match.groups() if match else ("", "")
    row = tx.execute(sa.select(api_keys).where(api_keys.c.id == id)).one_or_none()
    expected = _NO_DIGEST if row is None else bytes(row.secret_sha256)
    same = hmac.compare_digest(_digest(secret), expected)  # bytes: on text it raises for non-ASCII
    key = _record(row) if row is not None and same else None
    return key if key is not None and is_good(key, now) else None


def any_key(tx: Tx) -> bool:
    """Whether a key was ever made: a server that needed keys does not open when the last of them ends."""
    return tx.execute(sa.select(api_keys.c.id).limit(1)).first() is not None


def _held(tx: Tx, id: str, *, project: str | None) -> KeyRecord:
    """The key, which nobody else ends or replaces before this transaction ends."""
    return _one(tx, _of(project).with_for_update(), id=id)


def _one(tx: Tx, query: sa.Select[Any], *, id: str) -> KeyRecord:
    row = tx.execute(query.where(api_keys.c.id == id)).one_or_none()
    if row is None:
        raise NotFound("API key", id)
    return _record(row)


def _of(project: str | None) -> sa.Select[Any]:
    return sa.select(api_keys) if project is None else sa.select(api_keys).where(api_keys.c.project == project)


def _record(row: sa.Row[Any]) -> KeyRecord:
    key = record_of(KeyRecord, row)
    return replace(key, secret_sha256=bytes(key.secret_sha256), scopes=tuple(Scope(scope) for scope in key.scopes))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
