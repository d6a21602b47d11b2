"""How a process writes its log: JSON lines with the ids of request and job, or for people where a terminal shows it.

The modules log with Python's `logging`; what a process is at work on is bound around the work (`at_work_on`) and stands
in every line of it, those of other libraries included.
"""

import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, TextIO

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars, merge_contextvars
from structlog.typing import EventDict, WrappedLogger

from infonce.errors import ConfigError

LOG_LEVEL: Final = "INFONCE_LOG_LEVEL"
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_SECRETS: Final = (
    (re.compile(r"inf_([0-9A-Za-z]{8})_[0-9A-Za-z]+"), r"inf_\1_…"),  # an API key, whose first part is its id
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), r"\1…@"),  # the password of a URL
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"']+"), r"\1 …"),
)


def write_logs(stream: TextIO, *, level: int = logging.INFO) -> None:
    """From now on every line of this process's log goes to the stream, in one form, and holds no secret."""
    first = [merge_contextvars, structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name]
    shared: list[Any] = [*first, structlog.stdlib.ExtraAdder(), structlog.processors.TimeStamper("iso", utc=True)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(stream), _without_secrets],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def level_of(env: Mapping[str, str]) -> int:
    """The level of `INFONCE_LOG_LEVEL`: debug, info (the default), warning or error.

    Raises:
        ConfigError: it is another one.
    """
    name = env.get(LOG_LEVEL) or "info"
    if name not in _LEVELS:
        raise ConfigError(f"{LOG_LEVEL} is {name[:40]!r}; it must be one of {', '.join(_LEVELS)}", param=LOG_LEVEL)
    return _LEVELS[name]


def at_work_on(**ids: object) -> AbstractContextManager[None]:
    """Inside, each line of the log has these ids; so have those of threads to which the context is handed."""
    return bound_contextvars(**ids)


def at_work() -> dict[str, Any]:
    """The ids that each line of the log has here."""
    return get_contextvars()


def _renderers(stream: TextIO) -> list[Any]:
    if stream.isatty():
        plain = structlog.dev.plain_traceback  # the usual one shows the values of variables
        return [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]


def _without_secrets(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    """The written line, in which whatever looks like a key or a password is left out."""
    text = str(line)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
