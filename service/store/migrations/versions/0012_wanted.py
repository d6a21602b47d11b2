"""The version that a collection is to move to as soon as it lacks nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No collection waits to move."""
    op.add_column("collections", sa.Column("wanted_version", sa.Text(), nullable=True))


def downgrade() -> None:
    """What waited to move stays where it is."""
    op.drop_column("collections", "wanted_version")
