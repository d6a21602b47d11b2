"""Embeddings in OpenAI's shape."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from service.bodies import EMBEDDINGS_LIMIT, described, json_body
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts
from service.errors import ServiceError
from service.schemas.embeddings import Embedding, EmbeddingCreate, Embeddings, Usage
from service.schemas.vectors import to_base64

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], dependencies=KEY_FIRST)


@router.post("", openapi_extra=described(EmbeddingCreate), response_model=Embeddings)
def create(
    asked: Annotated[EmbeddingCreate, Depends(json_body(EmbeddingCreate, limit=EMBEDDINGS_LIMIT))],
    parts: Parts,
    project: Project,
) -> Response:
    """Vectors of unit length, in the order of the texts."""
    model = parts.lookup.served(project, asked.model)
    dimensions = parts.lookup.dimensions(model)
    if asked.dimensions not in (None, dimensions):
        message = f"model {asked.model} has {dimensions} dimensions and was not trained for {asked.dimensions}"
        raise ServiceError("unsupported_dimensions", f"{message}; leave dimensions out", param="dimensions")
    embedded = parts.embedder.embed(model, asked.input, side=asked.input_type)
    rows = to_base64(embedded.vectors) if asked.encoding_format == "base64" else embedded.vectors.tolist()
    answer = Embeddings.model_construct(
        data=[Embedding.model_construct(index=place, embedding=row) for place, row in enumerate(rows)],
        model=asked.model,
        usage=Usage(prompt_tokens=embedded.num_tokens, total_tokens=embedded.num_tokens),
    )
    return Response(answer.model_dump_json(), media_type="application/json")
