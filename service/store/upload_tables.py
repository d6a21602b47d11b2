"""The tables of uploads that come in parts; they belong to `tables.metadata`."""

import sqlalchemy as sa

from service.store.columns import Json, PlainText, Whole, Word
from service.store.records import FilePurpose
from service.store.tables import metadata as metadata
from service.store.upload_status import UploadStatus

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", PlainText, primary_key=True),
    sa.Column("project", PlainText(), nullable=False),
    sa.Column("created_at", sa.Double(), nullable=False),
    sa.Column("expires_at", sa.Double(), nullable=False),
    sa.Column("filename", PlainText(), nullable=False),
    sa.Column("purpose", Word(FilePurpose), nullable=False),
    sa.Column("num_bytes", Whole(), nullable=False),
    sa.Column("mapping", Json(), nullable=True),
    sa.Column("status", Word(UploadStatus), nullable=False),
    sa.Column("completion", PlainText(), nullable=True),
    sa.Column("file_id", PlainText(), nullable=True),
    sa.Column("metadata", Json(), nullable=False),
    sa.Index(None, "status", "expires_at"),  # what has to go
    sa.Index(None, "project", "status"),  # what is stored
)

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("id", PlainText, primary_key=True),
    sa.Column("upload_id", PlainText, sa.ForeignKey("uploads.id"), nullable=False, index=True),
    sa.Column("created_at", sa.Double(), nullable=False),
    sa.Column("num_bytes", Whole(), nullable=False),
    sa.Column("sha256", PlainText(), nullable=False),
)
