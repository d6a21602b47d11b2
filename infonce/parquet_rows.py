"""Rows of an Apache Parquet file, a few at a time; pyarrow, which reads it, is an extra of the installation."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from infonce.dialects import Dialect, dialect_of
from infonce.errors import DatasetError, Issue
from infonce.file_limits import FileLimits
from infonce.jsonl import IssueLog, Row

MAGIC: Final = b"PAR1"
_ROWS: Final = 256  # at once: 32 MB of the longest texts
_BUFFER_BYTES: Final = 1 << 20
_MAX_COLUMNS: Final = 1_000
_MAX_FOOTER_BYTES: Final = 16 << 20  # pyarrow's own limits for the lists and texts of a footer are 100 times that


@contextmanager
def parquet_rows(path: Path, log: IssueLog, *, limits: FileLimits, mapped: Dialect | None) -> Iterator["ParquetRows"]:
    """The rows of the file, open until the block ends.

    Raises:
        DatasetError: pyarrow is not installed, or the file is no Parquet, too large, or has no columns of pairs.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        detail = "the file is Parquet and pyarrow, which reads it, is not installed here"
        remedy = "pip install 'infonce-service[parquet]', or write JSON Lines or CSV"
        raise _broken("unsupported_format", f"{detail}; {remedy}") from None
    with _readable():
        file = parquet.ParquetFile(
            path, buffer_size=_BUFFER_BYTES, pre_buffer=False, thrift_container_size_limit=_MAX_FOOTER_BYTES
        )
    with file:
        yield ParquetRows(file, log, limits=limits, mapped=mapped)


class ParquetRows:
    """The rows of an open file; a row's number stands for its line."""

    is_table = True
    empty_lines = 0

    def __init__(self, file: Any, log: IssueLog, *, limits: FileLimits, mapped: Dialect | None) -> None:
        names = tuple(file.schema_arrow.names)
        if twice := sorted({name for name in names if names.count(name) > 1})[:1]:
            raise _broken("duplicate_field", f"the column {twice[0]!r:.60} is there twice; give each its own name")
        dialect = dialect_of(names) if mapped is None else mapped
        if len(names) > _MAX_COLUMNS or dialect is None or not dialect.fits(names):
            wanted = "query (or anchor) and positive" if mapped is None else f"{mapped.anchors[0]}, {mapped.positive}"
            detail = f"its {len(names)} columns ({', '.join(names[:10])!r:.200}) are not those of pairs, {wanted}"
            raise _broken("unknown_header", f"{detail}; name them so, or say in a mapping what they hold")
        self.dialect: Dialect = dialect
        used = (*dialect.anchors, dialect.positive, *dialect.negative_fields(names))
        self._used = [name for name in names if name in used]
        self._nothing = dict.fromkeys(names)
        self._file = file
        self._log = log
        self._limits = limits
        self._skipped = 0
        self._check_size()

    def skip(self, line: int) -> None:
        """From now on the rows up to that number are left out; no texts are made of them."""
        self._skipped = line

    def __iter__(self) -> Iterator[Row]:
        line = num_bytes = 0
        with _readable():
            for batch in self._file.iter_batches(batch_size=_ROWS, columns=self._used, use_threads=False):
                num_bytes += batch.nbytes
                if num_bytes > self._limits.max_unpacked_bytes:
                    raise self._too_large()
                unread = min(max(0, self._skipped - line), batch.num_rows)
                line += unread
                for values in batch.slice(unread).to_pylist():
                    line += 1
                    yield Row(line, self._nothing | values)

    def _check_size(self) -> None:
        """What the file itself says of its size is not too much; that it may lie is why it is counted again."""
        found = self._file.metadata
        if found.num_rows > self._limits.max_lines:
            detail = f"there are {found.num_rows} rows; the limit is {self._limits.max_lines}; split the file"
            raise _broken("too_many_rows", detail)
        if sum(found.row_group(place).total_byte_size for place in range(found.num_row_groups)) > (
            self._limits.max_unpacked_bytes
        ):
            raise self._too_large()

    def _too_large(self) -> DatasetError:
        limit = self._limits.max_unpacked_bytes
        detail = f"the Parquet file holds more than {limit} bytes when unpacked; split it"
        return _broken("decompressed_too_large", detail)


@contextmanager
def _readable() -> Iterator[None]:
    """What pyarrow says of a broken file inside becomes a `DatasetError`: its errors are ValueErrors and OSErrors."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError, MemoryError, KeyError, OverflowError) as error:
        said = str(error).split("\n", 1)[0][:200]
        raise _broken("corrupt_parquet", f"the Parquet file cannot be read ({said}); write it anew") from None


def _broken(code: str, detail: str) -> DatasetError:
    return DatasetError([Issue(line=None, field=None, code=code, detail=detail)])
