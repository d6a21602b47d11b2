"""`POST /v1/embeddings`, in OpenAI's shape."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from infonce.config import Side
from infonce.jsonl import text_problem
from service.schemas.strict import MAX_TEXT_CHARACTERS, Answer, Name, Request, Whole

MAX_INPUTS = 2_048
"""How many texts one call may bring, as OpenAI has it."""


def _inputs(value: object) -> tuple[str, ...]:
    """One text or a list of them; ids of some tokenizer are refused, ours would read them as other words."""
    texts = value if isinstance(value, list) else [value]
    if not texts or len(texts) > MAX_INPUTS:
        message = f"has {len(texts)} texts; it must have 1 to {MAX_INPUTS}; split larger lists"
        raise PydanticCustomError("invalid_value", message)
    if isinstance(texts[0], int | list) and not isinstance(texts[0], bool):
        message = "is token ids, which another tokenizer made; send texts (LangChain: check_embedding_ctx_length=False)"
        raise PydanticCustomError("token_input", message)
    for place, text in enumerate(texts):
        where = f"[{place}] " if isinstance(value, list) else ""
        if not isinstance(text, str):
            raise PydanticCustomError("invalid_value", f"{where}must be a text, or all of it a list of texts")
        if problem := text_problem(text, MAX_TEXT_CHARACTERS):
            code, detail = problem
            raise PydanticCustomError(code, where + detail)
    return tuple(texts)


Inputs = Annotated[
    tuple[str, ...],
    PlainValidator(_inputs),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARACTERS},
                {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]


class EmbeddingCreate(Request):
    """The body of `POST /v1/embeddings`."""

    model: Name
    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[Whole, Field(ge=1)] | None = None
    input_type: Side = Side.DOCUMENT
    """Whose prompt of the model is put before each text."""
    user: Annotated[str, Field(max_length=512)] | None = None
    """OpenAI's label of the end user; it changes nothing here."""


class Embedding(Answer):
    """One vector of unit length: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(Answer):
    """How many tokens the model read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Answer):
    """The vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
