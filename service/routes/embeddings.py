"""Embeddings in OpenAI's shape."""

import asyncio
from concurrent.futures import Future
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.admission import give_back
from service.bodies import EMBEDDINGS_LIMIT, described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts
from service.errors import ServiceError
from service.lanes import Embedded
from service.model_lookup import ServedModel
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
    model = parts.lookup.known_to_embed(project, asked.model)
    if model is None:
        model = await run_in_threadpool(parts.lookup.to_embed, project, asked.model)
    _check_dimensions(model, asked)
    waiting = parts.embedder.submit(model.found, asked.input, side=asked.input_type)
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


def _check_dimensions(model: ServedModel, asked: EmbeddingCreate) -> None:
    """Raise `ServiceError` unless the vectors have the dimensions that were asked for, or can be cut to them."""
    shorter = sorted((size for size in model.prefixes if size < model.dimensions), reverse=True)
    if asked.dimensions in (None, model.dimensions, *shorter):
        return
    trained = ", ".join(map(str, shorter))
    message = f"model {asked.model} has {model.dimensions} dimensions and was not trained for {asked.dimensions}; "
    remedy = f"ask for {trained}, or leave dimensions out" if trained else "leave dimensions out"
    raise ServiceError("unsupported_dimensions", message + remedy, param="dimensions")
