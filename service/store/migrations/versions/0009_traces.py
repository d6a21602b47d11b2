"""A job remembers the trace of the request that ordered it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that exist belong to no trace."""
    op.add_column("jobs", sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    """No job remembers its trace."""
    op.drop_column("jobs", "traceparent")
