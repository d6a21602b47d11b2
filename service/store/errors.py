"""Every error that the store raises on purpose; no driver's, queue's or file system's exception crosses its edge.

StoreError
├── NotFound            no such object in this project
├── Conflict            the object's state forbids it; `code` says which rule
├── InvalidValue        a value that cannot be stored: NUL or lone surrogate, an integer beyond 2**53, a broken name
│   └── BadCursor       `after` names no element of the list
├── Repeated            the same request has been answered before; `object_id` is what it made
├── InvalidSetting      an environment variable is missing or wrong
├── StoreUnavailable    something does not answer just now; trying again may help
│   ├── DatabaseUnavailable  the database, or a lock in it, could not be had in time
│   ├── ArtifactsUnavailable the artifact root cannot be read or written
│   └── QueueUnavailable     the broker does not answer; the sweep tries again
├── StorageFull         the disk or its quota is full
├── SchemaMismatch      what is on disk was written by another version
└── ArtifactCorrupt     a published file is not the one that was sealed
"""

from typing import Final

MODEL_REMEDY: Final = "restore the model from a backup, or train it again"
INDEX_REMEDY: Final = (
    "a query of the collection orders a new index of its documents, which answers when the job has ended; "
    "or restore a backup"
)
EVALUATION_REMEDY: Final = "evaluate again, or restore it from a backup"
UPLOAD_REMEDY: Final = "upload the file again, or restore it from a backup"
"""What to do about a damaged artifact."""


class StoreError(Exception):
    """The root of the store's errors; `str(error)` is one sentence for the user."""


class NotFound(StoreError):
    """No object of that kind and id belongs to the project; a foreign id reads the same as a random one."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"No such {kind}: {object_id!r}")
        self.kind = kind
        self.id = object_id


class Conflict(StoreError):
    """The state of the object forbids what was asked; `code` is one word, such as `job_terminal` or `name_taken`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidValue(StoreError):
    """A value cannot be stored alike on every backend, or names no place inside the artifact root."""


class BadCursor(InvalidValue):
    """`after` is the id of no element of this list."""

    def __init__(self, after: str) -> None:
        super().__init__(f"after={after!r} is the id of no element of this list; leave it out to begin at the start")
        self.after = after


class Repeated(StoreError):
    """The same request has been answered before; `object_id` is what it made."""

    def __init__(self, object_id: str) -> None:
        super().__init__(f"The same request has made {object_id} already")
        self.object_id = object_id


class InvalidSetting(StoreError):
    """The environment variable `name` is missing or wrong."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name} {message}")
        self.name = name


class StoreUnavailable(StoreError):
    """A part of the store does not answer just now; `reason` is the driver's own word."""

    part = "store"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The {self.part} does not answer: {reason}")
        self.reason = reason


class DatabaseUnavailable(StoreUnavailable):
    """The database, or a lock in it, could not be had in time; nothing was written, as far as can be known."""

    part = "database"


class ArtifactsUnavailable(StoreUnavailable):
    """The artifact root cannot be read or written."""

    part = "artifact root"


class QueueUnavailable(StoreUnavailable):
    """The broker does not answer; nothing is lost, the sweep rings again."""

    part = "broker"


class StorageFull(StoreError):
    """The disk, its quota or the file-size limit is reached; nothing half-written is visible."""


class SchemaMismatch(StoreError):
    """Database or artifact root were written by another version of this program; the message names the remedy."""


class ArtifactCorrupt(StoreError):
    """`file` inside a published folder is missing or is not the one that was sealed."""

    def __init__(self, folder: str, *, file: str, reason: str, remedy: str = MODEL_REMEDY) -> None:
        super().__init__(f"{folder}/{file} {reason}; {remedy}")
        self.folder = folder
        self.file = file
