"""What health routes answer."""

from typing import Literal

from service.schemas.strict import Answer


class Health(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """Requests can be served; `degraded` names what is away without stopping them."""

    status: Literal["ready"] = "ready"
    degraded: list[str]
