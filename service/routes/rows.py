"""The rows of an upload, a page at a time: pairs or documents, as training, mining and search read them."""

import re
import sys
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from infonce.apart import foreign_page
from infonce.dialects import FieldMapping
from infonce.errors import DatasetError
from infonce.row_pages import Place, page_of_documents
from service.callers import KEY_FIRST, Project
from service.dependencies import Parts, Wiring, object_id
from service.errors import ServiceError
from service.schemas.lists import Listing
from service.schemas.rows import DocumentRow, PairRow
from service.store import files
from service.store.errors import UPLOAD_REMEDY, ArtifactCorrupt
from service.store.records import FilePurpose, FileRecord

MAX_ROWS: Final = 100
_PLACE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")

router = APIRouter(prefix="/v1/files", tags=["files"], dependencies=KEY_FIRST)


def _place(
    after: Annotated[str | None, Query(max_length=200, description="the id of a row, or the number of a line")] = None,
) -> Place:
    """Where the page begins; behind a line is behind all of its pairs."""
    if after is None:
        return Place(0, 0)
    if (found := _PLACE.fullmatch(after)) is None:
        raise ServiceError("bad_cursor", "after is neither the id of a row nor the number of a line", param="after")
    return Place(int(found[1]), sys.maxsize if found[2] is None else int(found[2]))


@router.get("/{id}/rows")
def rows(
    id: Annotated[str, Depends(object_id("file", "file"))],
    parts: Parts,
    project: Project,
    after: Annotated[Place, Depends(_place)],
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 20,
) -> Listing[PairRow | DocumentRow]:
    """The pairs or documents of a file in their order, with their lines; a page ends at 4,000,000 characters.

    What stands before `after` is passed over anew for each page: lines of JSON are not parsed for it, CSV and JSON
    lists are, what is packed is unpacked, and of a BEIR zip every page reads the whole. Judgements have no rows.
    """
    with parts.database.read() as tx:
        record = files.get_file(tx, project, id=id)
    if record.purpose is FilePurpose.EVAL:
        message = f"file {id} has purpose {record.purpose}, whose queries, documents and judgements are no rows"
        raise ServiceError("invalid_value", f"{message}; pairs and documents have some", param="id")
    try:
        return _page(parts, record, after=after, limit=limit)
    except ArtifactCorrupt:
        with parts.database.read() as tx:
            files.get_file(tx, project, id=id)  # what was deleted meanwhile is not found, and no damage
        raise


def _page(parts: Wiring, record: FileRecord, *, after: Place, limit: int) -> Listing[PairRow | DocumentRow]:
    path = parts.artifacts.whole_file(record.id, num_bytes=record.num_bytes)
    mapping = None if record.mapping is None else FieldMapping.from_dict(record.mapping)
    found: list[PairRow | DocumentRow]
    try:
        if record.purpose is FilePurpose.CORPUS:
            documents, more = page_of_documents(path, after.line, limit=limit)
            found = [DocumentRow.of(document) for document in documents]
        else:
            page = foreign_page(path, after, limit=limit, mapping=mapping)
            found, more = [PairRow.of(place, pair) for place, pair in page.rows], page.more
    except (DatasetError, FileNotFoundError) as error:  # it was sound when it came
        reason = f"cannot be read any more ({error})"
        raise ArtifactCorrupt("files", file=record.id, reason=reason, remedy=UPLOAD_REMEDY) from None
    return Listing.of(found, more)
