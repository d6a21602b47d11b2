"""Models as callers see them, in OpenAI's shape and with what an embedding model is."""

from typing import Any, Literal

from service.schemas.strict import Answer


class ModelObject(Answer):
    """A base model that is known here, or one that a job made."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """0 for a base model: nobody here made it."""
    owned_by: str
    kind: Literal["base", "tuned"]
    dimensions: int | None = None
    max_tokens: int | None = None
    parent: str | None = None
    job: str | None = None
    fingerprint: str | None = None
    """Equal prints give equal vectors."""
    evaluation: dict[str, Any] | None = None
