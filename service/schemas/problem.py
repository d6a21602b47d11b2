"""The one error body, for readers of RFC 9457 and OpenAI's clients alike."""

from service.schemas.strict import Answer


class ProblemPlace(Answer):
    """One broken place: a line of an upload, or a JSON pointer into the body."""

    line: int | None
    pointer: str | None
    code: str
    detail: str


class ProblemError(Answer):
    """What OpenAI's clients read."""

    message: str
    type: str
    param: str | None
    code: str


class ProblemBody(Answer):
    """Every error."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[ProblemPlace]
    further_errors: int
    """How many broken places there are beside those in `errors`."""
    error: ProblemError
