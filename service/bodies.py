"""Reads JSON bodies: bytes up to a limit, then one strict pass; every broken place gets a pointer and a sentence.

Nothing that the caller sent is echoed but the names of unknown keys.
"""

import codecs
import difflib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, get_args

import pydantic_core
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.errors import PROBLEMS, InvalidInput, Place, ServiceError, TooLarge

JSON_LIMIT = 1 << 20
EMBEDDINGS_LIMIT = 8 << 20
DOCUMENTS_LIMIT = 32 << 20
MAX_LISTED_PLACES = 20

_INLINE_BYTES = 64 << 10  # parsed in a few hundred microseconds, less than a trip to a thread
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's begin with UTF-16's or with NUL
_CODES = {"json_invalid": "invalid_json", "extra_forbidden": "unknown_field", "missing": "missing_field"}

Model = TypeVar("Model", bound=BaseModel)


def json_body(
    model: type[Model], *, limit: int = JSON_LIMIT, optional: bool = False
) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that gives the request's body as `model`; its digest is `request.state.body_sha256`.

    Where it is `optional`, a request without one says what `{}` does, whatever its Content-Type.
    """

    async def read(request: Request) -> Model:
        if not optional:
            require_type(request, "application/json")
        raw = await read_all(request, limit)
        request.state.body_sha256 = hashlib.sha256(raw).hexdigest()
        if optional and not raw:
            return model.model_validate({})
        require_type(request, "application/json")
        if len(raw) <= _INLINE_BYTES:
            return parse(model, raw)
        return await run_in_threadpool(parse, model, raw)

    return read


def described(model: type[BaseModel], *other_types: str, required: bool = True) -> dict[str, Any]:
    """What the OpenAPI document says of a body that FastAPI itself never sees; the schemas stand in `routes/docs`."""
    schema = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    content: dict[str, Any] = {"application/json": schema}
    content |= {name: {"schema": {"type": "string"}} for name in other_types}
    return {"requestBody": {"required": required, "content": content}}


def require_type(request: Request, *allowed: str) -> str:
    """The request's media type, which is one of `allowed`, in UTF-8 and not compressed.

    Raises:
        ServiceError: it is another one, or the body is encoded.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ServiceError("unsupported_encoding", "Content-Encoding is not supported here; send the body as it is")
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    name = media_type.strip().lower()
    charset = parameters.strip().lower().replace('"', "")
    if name not in allowed or charset not in ("", "charset=utf-8"):
        message = f"Content-Type must be {' or '.join(allowed)}, in UTF-8"
        raise ServiceError("unsupported_media_type", message)
    return name


async def read_all(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it is longer than `limit`; a declared length is believed at once.
    """
    refuse_declared(request, limit, what="the body")
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge("the body", limit)
        parts.append(chunk)
    return b"".join(parts)


def refuse_declared(request: Request, limit: int, *, what: str) -> None:
    """Raise `TooLarge` where Content-Length already says more than `limit`."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(what, limit)


def parse(model: type[Model], raw: bytes, *, where: str = "", context: object = None) -> Model:
    """`raw` as a `model`; `where` begins each sentence about a broken place, `context` is for the model's validators.

    Raises:
        InvalidInput: it is not UTF-8, not JSON, or not what the model says.
    """
    _check_encoding(raw, where)
    try:
        parsed = model.model_validate_json(raw, context=context)
    except ValidationError as error:
        raise _invalid(model, error, where=where) from None
    # raw NUL is no JSON; only its escape can stand in a text. A single byte is looked for many times as fast
    if b"\\" in raw and b"\\u0000" in raw:
        _refuse_nul(pydantic_core.from_json(raw), "", where=where)
    return parsed


def validated(model: type[Model], value: object) -> Model:
    """What came in another form than a JSON body, as a `model`, whose types refuse NUL by themselves.

    Raises:
        InvalidInput: it is not what the model says.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(model, error, where="") from None


def _check_encoding(raw: bytes, where: str) -> None:
    if raw.startswith(_BOMS) or raw.startswith(b"\0"):
        raise InvalidInput([Place(code="invalid_json", detail=f"{where}body must be UTF-8 without BOM")])
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"{where}body is not UTF-8 at byte offset {error.start}; encode it as UTF-8"
        raise InvalidInput([Place(code="invalid_json", detail=detail)]) from None


def _invalid(model: type[BaseModel], error: ValidationError, *, where: str) -> InvalidInput:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    found.sort(key=lambda item: item["type"] != "extra_forbidden")  # a mistyped key explains the missing one
    places = [_place(model, item, where=where) for item in found[:MAX_LISTED_PLACES]]
    return InvalidInput(places, param=".".join(map(_shown, found[0]["loc"])) or None)


def _place(model: type[BaseModel], item: ErrorDetails, *, where: str) -> Place:
    kind, loc = item["type"], item["loc"]
    name = ".".join(map(_shown, loc))
    if kind in _CODES:
        detail = _own_words(model, item, name=name)
    elif not loc and kind not in PROBLEMS:
        detail = "body must be an object"
    else:
        detail = f"{name}: {item['msg']}" if name else item["msg"]
    code = _CODES.get(kind, kind if kind in PROBLEMS else "invalid_value")
    pointer = "".join("/" + _shown(part).replace("~", "~0").replace("/", "~1") for part in loc)
    return Place(code=code, pointer=pointer or None, detail=where + detail)


def _shown(part: int | str) -> str:
    """A key of the caller's in a sentence of ours: not all of a long one, and nothing that does not print."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(part)[:100])


def _own_words(model: type[BaseModel], item: ErrorDetails, *, name: str) -> str:
    if item["type"] == "extra_forbidden":
        return f"{name} is not a known field{_suggestion(model, item['loc'])}"
    if item["type"] == "missing":
        return f"{name} is missing; add it"
    reason = item["msg"].removeprefix("Invalid JSON: ").replace("recursion limit exceeded", "nesting too deep")
    return f"body is not valid JSON: {reason}"


def _suggestion(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    known = _fields_at(model, loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _fields_at(model: type[BaseModel] | None, path: Sequence[int | str]) -> list[str]:
    """The names of the fields of the object at `path` below `model`; none where the path leaves the models."""
    for step in path:
        if isinstance(step, str) and model is not None:
            field = model.model_fields.get(step)
            model = _model_in(field.annotation) if field is not None else None
    return sorted(model.model_fields) if model is not None else []


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The pydantic model in an annotation like `list[Thing] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in get_args(annotation))
    return next((inner for inner in found if inner is not None), None)


def _refuse_nul(value: object, pointer: str, *, where: str) -> None:
    if isinstance(value, str) and "\0" in value:
        detail = f"{where}{pointer.strip('/').replace('/', '.') or 'body'}: NUL (U+0000) is not allowed; remove it"
        raise InvalidInput([Place(code="invalid_text", pointer=pointer or None, detail=detail)])
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(key, pointer, where=where)
            _refuse_nul(inner, f"{pointer}/{key}", where=where)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _refuse_nul(inner, f"{pointer}/{place}", where=where)
