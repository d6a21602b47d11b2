"""The tables of what indexes do not tell: writes since they were made, and whose vectors clients brought.

They belong to `tables.metadata`.
"""

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

brought_vectors = sa.Table(
    "brought_vectors",
    metadata,
    sa.Column("collection_id", PlainText, sa.ForeignKey("collections.id"), primary_key=True),
    sa.Column("since", Whole(), primary_key=True),
    sa.Column("model", PlainText, nullable=True),
    sa.Column("fingerprint", PlainText, nullable=True),
    sa.Column("count", Whole(), nullable=False),
)
