"""The tables of signals: who is told of the ends of jobs, what was told, and the signs of life of workers.

They belong to the metadata of `tables.py`, as whose second half they may be read.
"""

import sqlalchemy as sa

from service.store.columns import Json, PlainText, Whole, Word
from service.store.signals import DeliveryStatus, EventType
from service.store.tables import metadata as metadata

webhook_endpoints = sa.Table(
    "webhook_endpoints",
    metadata,
    sa.Column("id", PlainText, primary_key=True),
    sa.Column("project", PlainText(), nullable=False),
    sa.Column("name", PlainText(), nullable=False),
    sa.Column("url", PlainText(), nullable=False),
    sa.Column("event_types", Json(), nullable=False),
    sa.Column("secret", PlainText(), nullable=False),
    sa.Column("old_secret", PlainText(), nullable=True),
    sa.Column("old_secret_until", sa.Double(), nullable=True),
    sa.Column("created_at", sa.Double(), nullable=False),
    sa.Column("updated_at", sa.Double(), nullable=False),
    sa.Column("metadata", Json(), nullable=False),
    sa.Index(None, "project", "created_at", "id"),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", PlainText, primary_key=True),
    sa.Column("endpoint_id", PlainText, sa.ForeignKey("webhook_endpoints.id"), nullable=False),
    sa.Column("event_id", PlainText(), nullable=False),
    sa.Column("event_type", Word(EventType), nullable=False),
    sa.Column("event_at", sa.Double(), nullable=False),
    sa.Column("data", Json(), nullable=False),
    sa.Column("created_at", sa.Double(), nullable=False),
    sa.Column("status", Word(DeliveryStatus), nullable=False),
    sa.Column("attempts", Whole(), nullable=False),
    sa.Column("next_at", sa.Double(), nullable=True),
    sa.Column("tried_at", sa.Double(), nullable=True),
    sa.Column("status_code", Whole(), nullable=True),
    sa.Column("detail", PlainText(), nullable=True),
    sa.Index(None, "status", "next_at"),  # what is due
    sa.Index(None, "endpoint_id", "created_at", "id"),  # lists
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", PlainText, primary_key=True),
    sa.Column("queues", Json(), nullable=False),
    sa.Column("version", PlainText(), nullable=False),
    sa.Column("created_at", sa.Double(), nullable=False),
    sa.Column("seen_at", sa.Double(), nullable=False),
)
