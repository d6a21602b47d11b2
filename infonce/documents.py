"""A file of documents to search, one JSON object a line: `text` and, if it has one, `title`, as BEIR writes them."""

from pathlib import Path

from infonce.formats import DEFAULT_LIMITS, FileLimits
from infonce.jsonl import IssueLog, TextLines, rows


def read_documents(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> list[str]:
    """Title and text of each line, joined by a blank; short enough to stand in a pair.

    Raises:
        DatasetError: a line is broken, or there are none; all issues are counted.
    """
    log, texts = IssueLog(), []
    with path.open("rb") as stream:
        lines = TextLines(stream, log, max_line_bytes=limits.max_document_line_bytes, max_lines=limits.max_documents)
        for row in rows(lines, log):
            if (text := log.titled_text(row, limit=limits.max_text_characters)) is not None:
                texts.append(text)
    if not texts and not log.num_issues:
        log.add("empty_dataset", "the file has no documents; write one object with text a line")
    log.raise_any()
    return texts
