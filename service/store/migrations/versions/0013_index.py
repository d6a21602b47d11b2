"""How an index is to be built, of each collection and version, and how it was."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_AUTO = '{"type":"auto","prefix":"auto"}'


def upgrade() -> None:
    """Until now all were chosen by the number of documents; what they became is told from their next job on."""
    for table in ("collections", "versions"):
        op.add_column(table, sa.Column("asked_index", sa.Text(), nullable=False, server_default=_AUTO))
    op.add_column("versions", sa.Column("built_index", sa.Text(), nullable=True))


def downgrade() -> None:
    """What was asked is forgotten; the next index of each is chosen by the number of documents."""
    op.drop_column("versions", "built_index")
    for table in ("versions", "collections"):
        op.drop_column(table, "asked_index")
