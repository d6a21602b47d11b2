"""Vectors that clients brought, with the model by which their collection answered; versions that no job made."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OF_NO_JOB = "SELECT id FROM versions WHERE job_id IS NULL"
_OF_THE_INDEX = "SELECT versions.fingerprint FROM versions WHERE versions.id = collections.active_version"
_OF_THE_NEWEST = """
SELECT document_vectors.fingerprint FROM document_vectors WHERE document_vectors.collection_id = collections.id
ORDER BY document_vectors.sequence DESC LIMIT 1
"""
_FINGERPRINT = f"CASE WHEN active_version IS NULL THEN ({_OF_THE_NEWEST}) ELSE ({_OF_THE_INDEX}) END"
_COUNTED = """
SELECT collection_id, min(sequence) AS since, count(*) AS num FROM documents
WHERE vector IS NOT NULL GROUP BY collection_id
"""


def upgrade() -> None:
    """Vectors that are there were brought for the model by which their collection answers now."""
    with op.batch_alter_table("versions") as table:
        table.alter_column("job_id", existing_type=sa.Text(), nullable=True)
    op.create_table(
        "brought_vectors",
        sa.Column("collection_id", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "since", name="pk_brought_vectors"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_brought_vectors_collection_id"),
    )
    op.execute(
        "INSERT INTO brought_vectors (collection_id, since, model, fingerprint, count) "
        f"SELECT collections.id, counted.since, collections.model, {_FINGERPRINT}, counted.num "
        f"FROM collections JOIN ({_COUNTED}) AS counted ON counted.collection_id = collections.id"
    )


def downgrade() -> None:
    """For which models vectors were brought is known no more; what no job made is no version, and cannot answer."""
    op.drop_table("brought_vectors")
    for name in ("active_version", "previous_version", "wanted_version"):
        op.execute(f"UPDATE collections SET {name} = NULL WHERE {name} IN ({_OF_NO_JOB})")
    op.execute("DELETE FROM versions WHERE job_id IS NULL")
    with op.batch_alter_table("versions") as table:
        table.alter_column("job_id", existing_type=sa.Text(), nullable=False)
