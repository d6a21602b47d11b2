import re
from dataclasses import fields
from typing import Any

import pytest
import sqlalchemy as sa

from service.store import keys
from service.store.database import Database
from service.store.errors import Conflict, InvalidValue
from service.store.tables import api_keys

HOSTILE = ["", "inf_", "inf_________", "é" * 60, "inf_12345678_" + "é" * 43, "\x00" * 60, "\ud800", "x" * 1_000_000]
FIRST = "inf_abcdefgh_" + "s" * 43


def test_a_key_opens_and_is_stored_only_as_a_hash(database: Database) -> None:
    with database.write() as tx:
        key, plaintext = keys.create(tx, "default", name="ci", now=1.0)
        assert keys.verify(tx, plaintext) == key
        stored = repr(tx.execute(sa.select(api_keys)).all())
    assert re.fullmatch(r"inf_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", plaintext)
    assert (key.project, key.name, key.scopes) == ("default", "ci", ("admin",))
    assert plaintext.split("_")[2] not in stored + repr(key)


def test_keys_differ_and_keep_their_scopes(database: Database) -> None:
    with database.write() as tx:
        made = dict(keys.create(tx, "p", name="n", scopes=["read", "train"], now=1.0)[::-1] for _ in range(20))
        assert [keys.verify(tx, plaintext) for plaintext in made] == list(made.values())
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
            assert keys.verify(tx, wrong) is None


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_breaks_the_check(database: Database, text: str) -> None:
    with database.read() as tx:
        assert keys.verify(tx, text) is None


def test_the_first_key_is_adopted_once(database: Database) -> None:
    with database.write() as tx:
        assert not keys.any_key(tx)
        first = keys.adopt(tx, FIRST, now=1.0)
        assert keys.adopt(tx, FIRST, now=2.0) == first == keys.verify(tx, FIRST)
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
