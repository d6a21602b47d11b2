"""A figure becomes a PNG at a path, whole or not at all; matplotlib is loaded when the first figure is made."""

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from infonce.errors import ConfigError, InfonceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_picture_path(path: Path) -> None:
    """Raise `ConfigError` unless `path` ends with .png in a folder that exists."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path} does not end with .png; the pictures are PNG files", param="output")
    try:
        exists = path.parent.is_dir()
    except OSError as error:
        raise _unwritable(path, error.strerror) from None
    if not exists:
        raise _unwritable(path, f"there is no folder {path.parent}; make it first")


def figure_of(width: float, height: float) -> "Figure":
    """An empty figure of that many inches, with its own canvas."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        message = "matplotlib, which draws the pictures, is not installed; pip install 'infonce-service[plot]'"
        raise InfonceError(message) from None
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_picture(figure: "Figure", path: Path) -> None:
    """The figure is rendered in memory and appears under its name in one step."""
    check_picture_path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        unfinished.write_bytes(picture.getvalue())
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise _unwritable(path, error.strerror) from None


def _unwritable(path: Path, reason: str | None) -> ConfigError:
    return ConfigError(f"{path} cannot be written: {reason}", param="output")
