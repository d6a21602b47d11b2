"""Files of pairs say which fields hold what, where their caller said so."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Files that exist have no mapping: they show by themselves what they hold."""
    op.add_column("files", sa.Column("mapping", sa.Text(), nullable=True))


def downgrade() -> None:
    """No file has a mapping; one that was read by it cannot be read any more."""
    op.drop_column("files", "mapping")
