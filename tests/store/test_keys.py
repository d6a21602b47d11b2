import re
from dataclasses import fields
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from service.store import keys
from service.store.database import Database
from service.store.errors import Conflict, InvalidValue, NotFound
from service.store.records import Page, Scope
from service.store.tables import api_keys

HOSTILE = ["", "inf_", "inf_________", "é" * 60, "inf_12345678_" + "é" * 43, "\x00" * 60, "\ud800", "x" * 1_000_000]
FIRST = "inf_abcdefgh_" + "s" * 43


def test_a_key_opens_and_is_stored_only_as_a_hash(database: Database) -> None:
    with database.write() as tx:
        key, plaintext = keys.create(tx, "default", name="ci", now=1.0)
        assert keys.verify(tx, plaintext, now=1.0) == key
        stored = repr(tx.execute(sa.select(api_keys)).all())
    assert re.fullmatch(r"inf_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", plaintext)
    assert (key.project, key.name, key.scopes) == ("default", "ci", ("admin",))
    assert plaintext.split("_")[2] not in stored + repr(key)


def test_keys_differ_and_keep_their_scopes(database: Database) -> None:
    with database.write() as tx:
        made = dict(keys.create(tx, "p", name="n", scopes=[Scope.READ, Scope.TRAIN], now=1.0)[::-1] for _ in range(20))
        assert [keys.verify(tx, plaintext, now=1.0) for plaintext in made] == list(made.values())
    assert {key.scopes for key in made.values()} == {("read", "train")}


def test_a_wrong_secret_of_a_known_key_opens_nothing(database: Database) -> None:
    with database.write() as tx:
        _, plaintext = keys.create(tx, "default", name="ci", now=1.0)
        changed = plaintext[:-1] + ("a" if plaintext[-1] != "a" else "b")
        for wrong in (
            changed,
            plaintext + "a",
            plaintext[:-1],
            plaintext + "\n",
            f" {plaintext}",
            plaintext.swapcase(),
        ):
            assert keys.verify(tx, wrong, now=1.0) is None


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_breaks_the_check(database: Database, text: str) -> None:
    with database.read() as tx:
        assert keys.verify(tx, text, now=1.0) is None


def test_the_first_key_is_adopted_once(database: Database) -> None:
    with database.write() as tx:
        assert not keys.any_key(tx)
        first = keys.adopt(tx, FIRST, now=1.0)
        assert keys.adopt(tx, FIRST, now=2.0) == first == keys.verify(tx, FIRST, now=1.0)
        assert keys.any_key(tx)
        with pytest.raises(Conflict):
            keys.adopt(tx, FIRST.replace("s", "t"), now=3.0)
    assert (first.project, first.scopes, first.created_at) == ("default", ("admin",), 1.0)


@pytest.mark.parametrize("text", [*HOSTILE, "password", "inf_abcdefgh_tooshort", FIRST + "\n"])
def test_what_is_no_key_is_not_adopted(database: Database, text: str) -> None:
    with pytest.raises(InvalidValue, match="form inf_"), database.write() as tx:
        keys.adopt(tx, text, now=1.0)


def test_a_secret_is_in_no_field_of_the_record(database: Database) -> None:
    with database.write() as tx:
        key, plaintext = keys.create(tx, "default", name="ci", now=1.0)
    values: list[Any] = [getattr(key, field.name) for field in fields(key)]
    assert not [value for value in values if plaintext.split("_")[2] in str(value)]


def test_a_key_counts_until_it_expires_or_is_revoked(database: Database) -> None:
    with database.write() as tx:
        ends, secret = keys.create(tx, "p", name="n", now=1.0, expires_at=10.0)
        assert keys.verify(tx, secret, now=9.9) == ends and keys.verify(tx, secret, now=10.0) is None
        stays, other = keys.create(tx, "p", name="n", now=1.0)
        assert keys.verify(tx, other, now=1e12) == stays
        keys.revoke(tx, stays.id, project="p", now=5.0)
        assert keys.revoke(tx, stays.id, project=None, now=6.0).revoked_at == 5.0
        assert keys.verify(tx, other, now=5.0) is None and keys.any_key(tx)


def test_a_rotated_key_is_as_the_old_one_which_counts_for_its_grace(database: Database) -> None:
    with database.write() as tx:
        old, first = keys.create(tx, "p", name="ci", now=1.0, scopes=[Scope.READ])
        new, second = keys.rotate(tx, old.id, project="p", now=10.0, grace_seconds=5.0)
        assert (new.project, new.name, new.scopes, new.expires_at) == ("p", "ci", (Scope.READ,), None)
        assert keys.verify(tx, first, now=14.9) is not None and keys.verify(tx, first, now=15.0) is None
        assert keys.verify(tx, second, now=1e9) == new
        with pytest.raises(Conflict, match="make a new one"):
            keys.rotate(tx, old.id, project="p", now=15.0, grace_seconds=5.0)


def test_a_new_key_lasts_as_long_as_the_old_one_was_to_and_grace_makes_that_no_longer(database: Database) -> None:
    with database.write() as tx:
        old, secret = keys.create(tx, "p", name="ci", now=1.0, expires_at=12.0)
        new, _ = keys.rotate(tx, old.id, project="p", now=10.0, grace_seconds=500.0)
        assert new.expires_at == 21.0 and keys.verify(tx, secret, now=12.0) is None


def test_a_key_is_replaced_once(database: Database) -> None:
    with database.write() as tx:
        old, _ = keys.create(tx, "p", name="ci", now=1.0)
        keys.rotate(tx, old.id, project="p", now=10.0, grace_seconds=50.0)
        with pytest.raises(Conflict, match="replaced"):
            keys.rotate(tx, old.id, project="p", now=11.0, grace_seconds=50.0)


def test_a_first_key_that_has_ended_is_adopted_as_it_is(database: Database) -> None:
    with database.write() as tx:
        first = keys.adopt(tx, FIRST, now=1.0)
        keys.revoke(tx, first.id, project=None, now=2.0)
        assert keys.adopt(tx, FIRST, now=3.0).revoked_at == 2.0 and keys.verify(tx, FIRST, now=3.0) is None


def test_a_key_of_another_project_is_not_found(database: Database) -> None:
    with database.write() as tx:
        key, _ = keys.create(tx, "a", name="n", now=1.0)
        for act in (keys.get, partial(keys.revoke, now=2.0), partial(keys.rotate, now=2.0, grace_seconds=1.0)):
            with pytest.raises(NotFound):
                act(tx, key.id, project="b")
        assert keys.page_keys(tx, "b", page=Page()) == ([], False)
        assert keys.page_keys(tx, None, page=Page()) == ([key], False)


def test_the_last_use_is_known_to_the_minute(database: Database) -> None:
    with database.write() as tx:
        key, _ = keys.create(tx, "a", name="n", now=1.0)
        for now, known in ((5.0, 5.0), (64.0, 5.0), (66.0, 66.0)):
            keys.touch(tx, key.id, now=now)
            assert keys.get(tx, key.id, project="a").last_used_at == known
