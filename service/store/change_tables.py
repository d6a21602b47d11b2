"""The tables of what was written to collections since their indexes were made; they belong to `tables.metadata`."""

import sqlalchemy as sa

from service.store.columns import PlainText, Whole
from service.store.tables import metadata

document_vectors = sa.Table(
    "document_vectors",
    metadata,
    sa.Column("collection_id", PlainText, sa.ForeignKey("collections.id"), primary_key=True),
    sa.Column("document_id", PlainText, primary_key=True),
    sa.Column("fingerprint", PlainText, primary_key=True),
    sa.Column("sequence", Whole(), nullable=False),
    sa.Column("vector", sa.LargeBinary(), nullable=False),
    sa.Index(None, "collection_id", "sequence"),
)

deletions = sa.Table(
    "deletions",
    metadata,
    sa.Column("collection_id", PlainText, sa.ForeignKey("collections.id"), primary_key=True),
    sa.Column("document_id", PlainText, primary_key=True),
    sa.Column("sequence", Whole(), nullable=False),
    sa.Index(None, "collection_id", "sequence"),
)
