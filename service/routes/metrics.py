"""What Prometheus scrapes; like health it needs no key, and it names no project, object or caller."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from service.dependencies import Parts

router = APIRouter(include_in_schema=False)  # no client of the API asks for it


@router.get("/metrics", response_class=PlainTextResponse)
async def scrape(parts: Parts) -> Response:
    """The numbers of this gateway, and those of all jobs where the database answers in time."""
    return Response(parts.metrics.text(await parts.figures.now()), headers={"content-type": CONTENT_TYPE_LATEST})
