"""Embeddings in OpenAI's shape."""

import asyncio
from concurrent.futures import Future
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from infonce.hub import FoundModel
from service.admission import give_back
from service.bodies import EMBEDDINGS_LIMIT, described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Wiring
from service.errors import ServiceError
from service.lanes import Embedded
from service.schemas.embeddings import EmbeddingCreate, Embeddings
from service.schemas.vectors import shortened, to_base64
from service.server_timing import tell

_INLINE_NUMBERS = 16_384  # written in less time than a trip to a thread and its wait for the interpreter

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], dependencies=KEY_FIRST)


@router.post("", openapi_extra=described(EmbeddingCreate), response_model=Embeddings)
async def create(
    request: Request,
    asked: Annotated[EmbeddingCreate, Depends(json_body(EmbeddingCreate, limit=EMBEDDINGS_LIMIT))],
    parts: Parts,
    project: Project,
) -> Response:
    """Vectors of unit length, in the order of the texts.

    `dimensions` cuts them to a length that the model was trained for, and brings them to unit length again.
    """
    model = await run_in_threadpool(_find, parts, project, asked=asked)
    waiting = parts.embedder.submit(model, asked.input, side=asked.input_type)
    give_back(request)
    embedded = await _unless_gone(request, waiting)
    tell(request, embedded.seconds)
    is_short = embedded.vectors.size <= _INLINE_NUMBERS
    content = written(embedded, asked) if is_short else await run_in_threadpool(written, embedded, asked)
    return Response(content, media_type="application/json")


def written(embedded: Embedded, asked: EmbeddingCreate) -> bytes:
    """An `Embeddings` as JSON: the numbers go from numpy to text, without an object for each."""
    vectors = embedded.vectors
    if asked.dimensions not in (None, vectors.shape[1]):
        vectors = shortened(vectors, asked.dimensions)
    rows = to_base64(vectors) if asked.encoding_format == "base64" else vectors
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)],
        "model": asked.model,
        "usage": {"prompt_tokens": embedded.num_tokens, "total_tokens": embedded.num_tokens},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


async def _unless_gone(request: Request, waiting: Future[Embedded]) -> Embedded:
    """The vectors; where the client does not wait for them, what has none yet gets none.

    Raises:
        ClientDisconnect: it is gone.
    """
    answer = asyncio.wrap_future(waiting)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """The client has closed the connection; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _find(parts: Wiring, project: str, *, asked: EmbeddingCreate) -> FoundModel:
    """The model that was asked for, whose vectors have or can be cut to the dimensions that were asked for."""
    model = parts.lookup.served(project, asked.model)
    whole = parts.lookup.dimensions(model)  # one that does not say is refused before it waits
    if asked.dimensions is None:
        return model
    shorter = sorted((size for size in parts.lookup.prefixes(model) if size < whole), reverse=True)
    if asked.dimensions in (whole, *shorter):
        return model
    trained = ", ".join(map(str, shorter))
    message = f"model {asked.model} has {whole} dimensions and was not trained for {asked.dimensions}; "
    remedy = f"ask for {trained}, or leave dimensions out" if trained else "leave dimensions out"
    raise ServiceError("unsupported_dimensions", message + remedy, param="dimensions")
