"""Jobs that are to end early and keep the best of what they have made, and the curve of those that run."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of no job that exists was it wished; one that runs tells its curve from here on."""
    op.add_column("jobs", sa.Column("keep_requested", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "curve_points",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "step", name="pk_curve_points"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_curve_points_job_id"),
    )


def downgrade() -> None:
    """A job of which it was wished goes on to its end; curves are told by reports alone."""
    op.drop_table("curve_points")
    op.drop_column("jobs", "keep_requested")
