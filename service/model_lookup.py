"""From a model's name, as any request may give it, to its folder and what is known of it; loads no weights."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infonce.errors import InvalidModel, UnknownModel
from infonce.hub import FoundModel, Hub, Source
from infonce.layout import Layout, read_layout, read_prefixes
from service.errors import ServiceError
from service.recent import Recent
from service.schemas.models import ModelObject, ModelPrompts
from service.store import catalog
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.errors import ArtifactCorrupt, NotFound
from service.store.records import ModelRecord, Page

_TUNED = re.compile(r"ft:[A-Za-z0-9._:/-]{1,250}")
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")  # what transformers' configs call the length of a state


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model that embeds texts, and the lengths that its vectors may have."""

    found: FoundModel
    dimensions: int
    prefixes: frozenset[int]
    """The shorter lengths that it was trained for."""


class ModelLookup:
    """Names of tuned and base models, resolved for one project at a time."""

    def __init__(self, database: Database, artifacts: Artifacts, *, hub: Hub) -> None:
        self._database = database
        self._artifacts = artifacts
        self._hub = hub
        self._served: Recent[tuple[str, str], ServedModel] = Recent(database)

    def find(self, project: str, name: str) -> FoundModel:
        """The folder of `name`.

        Raises:
            UnknownModel: neither the project nor the hub knows it; the message lists the known base models.
        """

        def tuned(name: str) -> Path | None:
            record = self._record(project, name)
            return None if record is None else self._artifacts.model_path(record.folder)

        return self._hub.resolve(name, tuned=tuned)

    def may_fetch(self, name: str) -> bool:
        """Whether a worker may download `name` when its job begins."""
        return self._hub.may_fetch(name)

    def is_base(self, name: str) -> bool:
        """Whether that base model is here."""
        return name in self._hub.known()

    def served(self, project: str, name: str) -> FoundModel:
        """As `find`, for a request that asks for the model itself: unknown is a 404.

        Raises:
            ServiceError: no such model.
        """
        try:
            return self.find(project, name)
        except UnknownModel as error:
            raise ServiceError("model_not_found", str(error), param="model") from None

    def known_to_embed(self, project: str, name: str) -> ServedModel | None:
        """What `to_embed` found a moment ago, without looking for anything."""
        return self._served.get((project, name))

    def to_embed(self, project: str, name: str) -> ServedModel:
        """As `served`, with what its folder says of its vectors.

        Raises:
            ServiceError: no such model.
            InvalidModel, ArtifactCorrupt: the folder does not say.
        """

        def look() -> ServedModel:
            found = self.served(project, name)
            return ServedModel(found=found, dimensions=self.dimensions(found), prefixes=self.prefixes(found))

        return self._served.read((project, name), look)

    def may_be_own(self, name: str) -> bool:
        """Whether a project's own model may be called so; no base model is."""
        return _TUNED.fullmatch(name) is not None

    def layout(self, found: FoundModel) -> Layout:
        """How the folder's backbone is used as a text encoder.

        Raises:
            InvalidModel: it is no model that this library has.
            ArtifactCorrupt: it was one when it was published.
        """
        with _damage_of(found):
            return read_layout(found.path)

    def dimensions(self, found: FoundModel) -> int:
        """The length of the model's vectors.

        Raises:
            InvalidModel: its configuration does not say.
            ArtifactCorrupt: the configuration of a published model is damaged.
        """
        with _damage_of(found):
            return _width(found)

    def prefixes(self, found: FoundModel) -> frozenset[int]:
        """The lengths, beside its own, to which the model's vectors may be cut: it was trained for them.

        Raises:
            InvalidModel: its configuration cannot be read.
            ArtifactCorrupt: the configuration of a published model is damaged.
        """
        with _damage_of(found):
            return read_prefixes(found.path)

    def describe(self, project: str, name: str) -> ModelObject:
        """The model as callers see it.

        Raises:
            ServiceError: no such model.
        """
        record = self._record(project, name)
        return self._tuned(record) if record is not None else self._base(self.served(project, name))

    def page(self, project: str, page: Page) -> tuple[list[ModelObject], bool]:
        """A window of the tuned models, the base models before its first element, and whether more follow.

        Base models have no metadata.
        """
        with self._database.read() as tx:
            records, more = catalog.page_models(tx, project, page=page)
        known = () if page.after is not None or page.metadata else self._hub.known()
        base = [self._base(self._hub.resolve(name)) for name in known]
        return [*base, *map(self._tuned, records)], more

    def _record(self, project: str, name: str) -> ModelRecord | None:
        if not self.may_be_own(name):
            return None
        with self._database.read() as tx:
            try:
                return catalog.get_model(tx, project, id=name)
            except NotFound:
                return None

    def _base(self, found: FoundModel) -> ModelObject:
        """The base model as callers see it; of a folder that this library cannot use only the name is known."""
        known: dict[str, Any] = {}
        with suppress(InvalidModel):
            dimensions, layout = self.dimensions(found), self.layout(found)
            known = {"dimensions": dimensions, "max_tokens": layout.max_seq_length, "prompts": _prompts(layout)}
        owner = found.name.split("/")[0] if "/" in found.name else "local"
        return ModelObject(id=found.name, created=0, owned_by=owner, kind="base", **known)

    def _tuned(self, record: ModelRecord) -> ModelObject:
        """The model as callers see it; of a damaged folder all is known but the prompts."""
        prompts = None
        with suppress(ArtifactCorrupt):
            path = self._artifacts.model_path(record.folder)
            prompts = _prompts(self.layout(FoundModel(name=record.id, path=path, source=Source.TUNED)))
        return ModelObject(
            id=record.id,
            created=int(record.created_at),
            owned_by=record.project,
            kind="imported" if record.job_id is None else "tuned",
            dimensions=record.dimensions,
            max_tokens=record.max_tokens,
            prompts=prompts,
            parent=record.parent,
            job=record.job_id,
            data_sha256=record.data_sha256,
            bytes=record.num_bytes or None,
            fingerprint=record.fingerprint,
            evaluation=dict(record.summary) or None,
            metadata=dict(record.metadata),
        )


@contextmanager
def _damage_of(found: FoundModel) -> Iterator[None]:
    """What makes a folder unusable inside is damage if the folder was once published."""
    try:
        yield
    except InvalidModel as error:
        if found.source is not Source.TUNED:
            raise
        reason = f"is not what was published ({error})"
        raise ArtifactCorrupt(found.path.name, file="config.json", reason=reason) from error


def _width(found: FoundModel) -> int:
    try:
        config = json.loads((found.path / "config.json").read_bytes())
        width = next((config[key] for key in _WIDTHS if key in config), None)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error  # without the path
        raise InvalidModel(f"{found.name} has no config.json that can be read: {reason}") from error
    if not isinstance(width, int) or width < 1:
        raise InvalidModel(f"{found.name}/config.json does not say the length of its vectors (hidden_size)")
    return width


def _prompts(layout: Layout) -> ModelPrompts:
    return ModelPrompts(query=layout.prompts.query, document=layout.prompts.document)
