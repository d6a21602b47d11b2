"""Files that jobs make of other files, evaluations of several models, and what a collection's documents take."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Files that exist were uploaded: nothing stands behind them. Documents that exist were sent by callers."""
    for name in ("parent", "job_id"):
        op.add_column("files", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("ix_files_job_id", "files", ["job_id"], unique=True)
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("ks", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_evaluations_job_id"),
        sa.UniqueConstraint("job_id", name="uq_evaluations_job_id"),
        sa.UniqueConstraint("folder", name="uq_evaluations_folder"),
    )
    op.create_index("ix_evaluations_project_created_at_id", "evaluations", ["project", "created_at", "id"])
    op.add_column("documents", sa.Column("filled_by", sa.Text(), nullable=True))
    op.add_column("collections", sa.Column("num_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    size = "octet_length({})" if op.get_bind().dialect.name == "postgresql" else "length(CAST({} AS BLOB))"
    sizes = " + ".join(f"coalesce({size.format(name)}, 0)" for name in ("text", "metadata", "vector"))
    of_collection = f"SELECT coalesce(sum({sizes}), 0) FROM documents WHERE collection_id = collections.id"
    op.execute(f"UPDATE collections SET num_bytes = ({of_collection})")


def downgrade() -> None:
    """What came with this step is gone, jobs and files of the kinds that the schema before does not know included.

    A file's bytes and an evaluation's folder are then named by no row and go with the next `infonce gc`.
    """
    op.drop_table("evaluations")
    op.execute("DELETE FROM repeats WHERE object_id IN (SELECT id FROM files WHERE purpose = 'corpus')")
    op.execute("DELETE FROM files WHERE purpose = 'corpus'")
    new_kinds = "SELECT id FROM jobs WHERE kind IN ('mine', 'evaluate', 'estimate')"
    op.execute(f"DELETE FROM job_events WHERE job_id IN ({new_kinds})")
    op.execute("DELETE FROM jobs WHERE kind IN ('mine', 'evaluate', 'estimate')")
    op.execute("UPDATE jobs SET phase = 'loading' WHERE phase = 'mining'")
    op.drop_index("ix_files_job_id", "files")
    for table, name in (
        ("files", "job_id"),
        ("files", "parent"),
        ("collections", "num_bytes"),
        ("documents", "filled_by"),
    ):
        op.drop_column(table, name)
