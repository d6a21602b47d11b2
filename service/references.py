"""What the body of an order names: a model or a file, found for the caller's project or refused by its place."""

from infonce.errors import UnknownModel
from infonce.hub import FoundModel
from service.errors import ServiceError
from service.model_lookup import ModelLookup
from service.store import files
from service.store.database import Tx
from service.store.errors import NotFound
from service.store.records import FilePurpose, FileRecord


def find_model(lookup: ModelLookup, project: str, *, name: str, param: str | None = "model") -> FoundModel | None:
    """The model that stands at `param` of the body; None where the worker will download it first.

    Raises:
        ServiceError: no such model here, and none may be downloaded (`unknown_base_model`).
    """
    try:
        return lookup.find(project, name)
    except UnknownModel as error:
        if lookup.may_fetch(name):
            return None
        raise ServiceError("unknown_base_model", str(error), param=param) from None


def find_here(lookup: ModelLookup, project: str, *, name: str) -> FoundModel:
    """The model that stands at `model` of the body, without which the request cannot be answered.

    Raises:
        ServiceError: no such model here (`unknown_base_model`).
    """
    try:
        return lookup.find(project, name)
    except UnknownModel as error:
        raise ServiceError("unknown_base_model", str(error), param="model") from None


def find_file(tx: Tx, project: str, *, id: str, purpose: FilePurpose, param: str) -> FileRecord:
    """The file that stands at `param` of the body.

    Raises:
        ServiceError: it does not exist, or has another purpose.
    """
    try:
        record = files.get_file(tx, project, id=id)
    except NotFound as error:
        raise ServiceError("not_found", f"{param}: {error}", param=param) from None
    if record.purpose is not purpose:
        message = f"{param}: file {id} has purpose {record.purpose}; one with purpose {purpose} is needed"
        raise ServiceError("invalid_value", message, param=param)
    return record
