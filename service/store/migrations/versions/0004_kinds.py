"""Files that jobs make of other files, and evaluations of several models."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Files that exist were uploaded: nothing stands behind them."""
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


def downgrade() -> None:
    """What came with this step is gone, jobs and files of the kinds that the schema before does not know included.

    A file's bytes and an evaluation's folder are then named by no row and go with the next `infonce gc`.
    """
    op.drop_table("evaluations")
    op.execute("DELETE FROM files WHERE purpose = 'corpus'")
    new_kinds = "SELECT id FROM jobs WHERE kind IN ('mine', 'evaluate', 'estimate')"
    op.execute(f"DELETE FROM job_events WHERE job_id IN ({new_kinds})")
    op.execute("DELETE FROM jobs WHERE kind IN ('mine', 'evaluate', 'estimate')")
    op.execute("UPDATE jobs SET phase = 'loading' WHERE phase = 'mining'")
    op.drop_index("ix_files_job_id", "files")
    for name in ("job_id", "parent"):
        op.drop_column("files", name)
