"""Models: those that jobs made and the base models that are known here."""

from fastapi import APIRouter

from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Window
from service.schemas.lists import Listing
from service.schemas.models import ModelObject

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=KEY_FIRST)


@router.get("")
def list_models(parts: Parts, project: Project, page: Window) -> Listing[ModelObject]:
    """Tuned models, newest first, behind the base models; both are legal wherever a model is asked for."""
    found, more = parts.lookup.page(project, page)
    return Listing.of(found, more)


@router.get("/{id:path}")
def retrieve(id: str, parts: Parts, project: Project) -> ModelObject:
    """One model; its id may hold slashes and colons."""
    return parts.lookup.describe(project, id)
