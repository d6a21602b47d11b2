"""What the file system says, freed from what a library wraps it in."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

_OS_ERROR = re.compile(r"os error (\d+)")


@contextmanager
def plain_os_errors() -> Iterator[None]:
    """Inside, a safetensors error that wraps one of the file system (a full disk) is raised as that one."""
    try:
        yield
    except SafetensorError as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
