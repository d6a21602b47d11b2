"""The child as its parent sees it: a process group that is started, listened to, asked to stop, and killed."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from infonce.file_limits import DOCUMENT_CHARACTERS, TEXT_CHARACTERS
from worker.progress import MAX_LINE_BYTES, MessageType, read_message

COMMAND: Final = (sys.executable, "-m", "worker.child")
"""What runs the work; the order's path and the parent's pid are added."""
MAX_LOG_BYTES: Final = 1 << 20
"""What is kept of the beginning of a child's output; of the rest its end is kept."""
TAIL_BYTES: Final = 4096
"""How much of the log's end explains a crash."""

_READ_BYTES = 1 << 16
_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH"),
    *(TEXT_CHARACTERS, DOCUMENT_CHARACTERS),
)
_PASSED_ON_BEGINNINGS = ("CUDA_", "NVIDIA_", "GOMP_", "OMP_")

Message = tuple[MessageType, dict[str, Any]]


def child_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """All that a child gets of the environment: no database or broker url, no key, no way to the network's hub."""
    kept = {name: environment[name] for name in _PASSED_ON if name in environment}
    kept |= {name: value for name, value in environment.items() if name.startswith(_PASSED_ON_BEGINNINGS)}
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",  # its threads and the matrix products' would fight over the cores
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
        "PYTHONHASHSEED": "0",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONNODEBUGRANGES": "1",  # no lines of carets in a traceback that becomes a message
        "OMP_NUM_THREADS": str(threads),  # read by torch's and by faiss's own OpenMP when they are loaded
    }


class ChildLog:
    """A file that holds the beginning of what was written and, once closed, its end; never much more than 1 MiB."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._room = MAX_LOG_BYTES
        self._beyond = 0
        self._tail = b""

    def write(self, data: bytes) -> None:
        """The data is in the file, or remembered as far as it may be the end."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._file.write(data[: self._room])
        self._file.flush()
        self._beyond += max(0, len(data) - self._room)
        self._room = max(0, self._room - len(data))

    def close(self) -> None:
        """The end of an over-long log stands below a line that says how much is missing."""
        if self._beyond:
            end = self._tail[-min(self._beyond, TAIL_BYTES) :]
            self._file.write(b"\n[%d bytes left out]\n" % (self._beyond - len(end)) + end)
        self._file.close()

    @property
    def tail(self) -> str:
        """The last 4 KiB."""
        return self._tail.decode("utf-8", "replace")


class ChildProcess:
    """A running child; `close` ends it if need be and may be called at any time."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: ChildLog) -> None:
        self._process = process
        self._log = log
        self._line = b""
        self._overlong = False
        self._heard_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        for stream, take in ((process.stdout, self._messages), (process.stderr, self._keep)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, take)

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], *, log_path: Path) -> Self:
        """The command runs in a session of its own; call it from the main thread (see `service.launch`)."""
        log = ChildLog(log_path)
        pipe = subprocess.PIPE
        arguments = [*command, str(os.getpid())]
        process = subprocess.Popen(
            arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=dict(environment),
            cwd=log_path.parent,  # the run's own folder: Python imports from where it starts
            start_new_session=True,
        )
        return cls(process, log)

    def listen(self, seconds: float) -> Iterator[Message]:
        """What the child says within that time; ends early once something was said."""
        for key, _ in self._selector.select(seconds):
            data = self._read(key.fileobj)
            if data:
                take: Callable[[bytes], Iterator[Message]] = key.data
                yield from take(data)

    def ended(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def silent_seconds(self) -> float:
        """Since its last message, or its start."""
        return time.monotonic() - self._heard_at

    def last_words(self) -> Iterator[Message]:
        """What an ended child left in its pipes; a grandchild that holds them open is not waited for."""
        for key in list(self._selector.get_map().values()):
            while data := self._read(key.fileobj):
                yield from key.data(data)

    def ask_to_stop(self) -> None:
        """The child is told to drop its unfinished step and end."""
        self._process.terminate()

    def kill(self) -> None:
        """No process of the child's group is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """No process of the child's group is left, its log is whole, its pipes are closed."""
        self.kill()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._log.close()

    @property
    def tail(self) -> str:
        """The end of what it wrote to its log."""
        return self._log.tail

    def _read(self, stream: Any) -> bytes | None:
        """What is there now; None at the end and when there is nothing."""
        pipe: IO[bytes] = stream
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self._selector.unregister(pipe)
        return data

    def _keep(self, data: bytes) -> Iterator[Message]:
        self._log.write(data)
        return iter(())

    def _messages(self, data: bytes) -> Iterator[Message]:
        """The messages of the lines that `data` completes; a line longer than the limit is passed over."""
        *complete, rest = (self._line + data).split(b"\n")
        for line in complete:
            message = None if self._overlong else read_message(line)
            self._overlong = False
            if message is not None:
                self._heard_at = time.monotonic()
                yield message
        if len(rest) > MAX_LINE_BYTES:
            self._overlong, rest = True, b""
        self._line = rest
