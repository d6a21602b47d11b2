"""A wish to deploy what a training makes, checked at the door: what can be known now is not found out after hours."""

from typing import Final

from infonce.errors import ConfigError
from service.errors import ServiceError
from service.references import find_file
from service.schemas.jobs import Deploy, JobCreate
from service.store import catalog
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.errors import NotFound
from service.store.records import DeployPolicy, FilePurpose

_PLACE: Final = "method.contrastive.deploy."


def is_judged(asked: JobCreate) -> bool:
    """Whether base and tuned model are compared on anything."""
    evaluation = asked.method.contrastive.evaluation
    return evaluation.held_out > 0 or evaluation.file is not None or asked.validation_file is not None


def check_policy(asked: JobCreate) -> None:
    """Whether the tuned model is to be deployed can be decided.

    Raises:
        ConfigError: it is to be if it is better, and nothing is judged.
    """
    deploy = asked.method.contrastive.deploy
    if deploy is not None and deploy.policy is DeployPolicy.IF_BETTER and not is_judged(asked):
        message = "policy is 'if_better', held_out is 0 and no file is given to judge by; give one, or choose 'always'"
        raise _refused(message, "policy")


def check_target(tx: Tx, project: str, *, deploy: Deploy | None, width: int | None) -> None:
    """The collection can take the model's vectors, and the file is one of documents.

    `width` is that of the model's vectors; None where that is not known before a worker has downloaded it.

    Raises:
        ServiceError: the file does not exist or is none of documents; or there is nothing to deploy to.
        ConfigError: the collection has no model or other dimensions.
    """
    if deploy is None:
        return
    if deploy.corpus_file is not None:
        find_file(tx, project, id=deploy.corpus_file, purpose=FilePurpose.CORPUS, param=_PLACE + "corpus_file")
    collection = _existing(tx, project, deploy=deploy)
    if collection is None:
        return
    if collection.model is None:
        message = f"collection {collection.name!r} has no model, only vectors of its clients; name another one"
        raise _refused(message, "collection")
    if width is not None and collection.dimension != width:
        sizes = f"has {collection.dimension} dimensions and the model {width}"
        raise _refused(f"collection {collection.name!r} {sizes}; name another one", "collection")


def _existing(tx: Tx, project: str, *, deploy: Deploy) -> CollectionRecord | None:
    """The collection; None where it will be made and filled from the file."""
    try:
        return catalog.get_collection(tx, project, name=deploy.collection)
    except NotFound as error:
        if deploy.corpus_file is not None:
            return None
        param = _PLACE + "collection"
        message = f"{param}: {error}; make it first, or give a corpus_file to fill it from"
        raise ServiceError("not_found", message, param=param) from None


def _refused(message: str, name: str) -> ConfigError:
    return ConfigError(message, param=f"deploy.{name}")
