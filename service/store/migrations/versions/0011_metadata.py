"""Metadata on what had none: files, uploads, models, exports, keys, projects, webhook endpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = ("files", "uploads", "models", "exports", "api_keys", "projects", "webhook_endpoints")
_OF_THE_JOB = "SELECT jobs.metadata FROM jobs WHERE jobs.id = models.job_id"


def upgrade() -> None:
    """What exists has no metadata, but for models, which have their job's."""
    for table in _TABLES:
        op.add_column(table, sa.Column("metadata", sa.Text(), nullable=False, server_default="{}"))
    op.execute(f"UPDATE models SET metadata = ({_OF_THE_JOB}) WHERE job_id IS NOT NULL")


def downgrade() -> None:
    """What came with this step is gone; each column is dropped in place, as in 0002."""
    for table in _TABLES:
        op.drop_column(table, "metadata")
