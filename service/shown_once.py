"""Answers that hold a secret: given to the request that made it, and to none that repeats it later."""

from collections.abc import Callable
from typing import TypeVar

from service.errors import ServiceError
from service.repetition import Repetition
from service.store.database import Database, Tx

Made = TypeVar("Made")


def shown_once(
    database: Database,
    repetition: Repetition,
    *,
    digest: str,
    remedy: str,
    make: Callable[[Tx], tuple[str, Made]],
    again: Callable[[Tx, str], Made] | None = None,
) -> Made:
    """What `make` made; it returns an id as well. `remedy` is for who has lost the first answer.

    Where the secret can still be read, `again` reads it for a client that says of itself, within a minute, that it
    repeats a request whose answer it did not get: that client handles no other answer.

    Raises:
        ServiceError: the same request has made one before (`secret_shown`): an answer without the secret would pass
            for one with it, and one more would leave the first, whose secret nobody may have, in use.
    """
    made: list[Made] = []

    def once() -> str:
        with database.write() as tx:
            id, found = make(tx)
            repetition.remember(tx, digest, object_id=id)
        made.append(found)
        return id

    id = repetition.once(database, digest, make=once)
    if made:
        return made[0]
    if again is None or repetition.key is not None:
        message = f"The same request was answered for {id} already, with a secret that is not shown again"
        raise ServiceError("secret_shown", f"{message}; if it did not reach you, {remedy}")
    with database.read() as tx:
        return again(tx, id)
