"""Documents that are searchable before an index holds them, and those that are gone before it lets them go."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No document that exists has a vector here: the indexes hold them."""
    op.create_table(
        "document_vectors",
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "document_id", "fingerprint", name="pk_document_vectors"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_document_vectors_collection_id"),
    )
    op.create_table(
        "deletions",
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "document_id", name="pk_deletions"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_deletions_collection_id"),
    )
    op.add_column("collections", sa.Column("previous_version", sa.Text(), nullable=True))
    op.add_column("versions", sa.Column("status", sa.Text(), nullable=False, server_default="ready"))
    op.add_column("versions", sa.Column("activated_at", sa.Double(), nullable=True))
    with op.batch_alter_table("versions") as table:
        table.alter_column("folder", existing_type=sa.Text(), nullable=True)
    op.execute("UPDATE versions SET activated_at = created_at WHERE id IN (SELECT active_version FROM collections)")
    for name in ("document_vectors", "deletions"):
        op.create_index(f"ix_{name}_collection_id_sequence", name, ["collection_id", "sequence"])


def downgrade() -> None:
    """The next index job embeds again what had its vector here; versions that were never built are gone."""
    op.execute("DELETE FROM versions WHERE folder IS NULL")
    with op.batch_alter_table("versions") as table:
        table.alter_column("folder", existing_type=sa.Text(), nullable=False)
    for name in ("activated_at", "status"):
        op.drop_column("versions", name)
    op.drop_column("collections", "previous_version")
    op.drop_table("deletions")
    op.drop_table("document_vectors")
