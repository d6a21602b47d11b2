"""What the library's `sentences` does, for errors of service and store as well."""

from contextlib import AbstractContextManager

from infonce import sentences as library
from infonce.errors import InfonceError
from service.errors import ServiceError
from service.store.errors import StoreError

FAILED = library.FAILED


def sentences() -> AbstractContextManager[None]:
    """What the user did or configured wrong is said in one sentence on stderr, with exit code 1."""
    return library.sentences((InfonceError, ServiceError, StoreError))
