"""Pause and resume, forgiven losses, sizes of artifacts, keys that end, projects with limits, repeated requests."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PROJECTS_KNOWN = """
INSERT INTO projects (id, created_at)
SELECT project, MIN(created_at) FROM (
    SELECT project, created_at FROM jobs UNION ALL SELECT project, created_at FROM files
    UNION ALL SELECT project, created_at FROM collections UNION ALL SELECT project, created_at FROM api_keys
) AS known GROUP BY project
"""


def upgrade() -> None:
    """Rows that exist get what they meant before: not paused, nothing saved, size unknown, keys without an end."""
    op.add_column("jobs", sa.Column("pause_requested", sa.Boolean(), nullable=False, server_default=sa.false()))
    for table, name in (
        ("jobs", "saved_step"),
        ("jobs", "lost_at_step"),
        ("models", "num_bytes"),
        ("versions", "num_bytes"),
    ):
        op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    for name in ("expires_at", "revoked_at", "rotated_at", "last_used_at"):
        op.add_column("api_keys", sa.Column(name, sa.Double(), nullable=True))
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("max_queued_jobs", sa.BigInteger(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_requests_per_minute", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.execute(_PROJECTS_KNOWN)
    op.create_table(
        "repeats",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("project", "route", "key", name="pk_repeats"),
    )
    op.create_index("ix_repeats_created_at", "repeats", ["created_at"])


def downgrade() -> None:
    """What came with this step is gone.

    Each column is dropped in place: SQLite refuses to replace a table whose rows others refer to. The first schema
    knows no end and no scope of a key: one that has either is removed, or it would open everything.
    """
    op.execute(
        "DELETE FROM api_keys WHERE revoked_at IS NOT NULL OR expires_at IS NOT NULL OR scopes NOT LIKE '%admin%'"
    )
    op.execute("UPDATE jobs SET status = 'queued', doorbell_at = NULL WHERE status = 'paused'")
    op.drop_table("repeats")
    op.drop_table("projects")
    for table, names in (
        ("api_keys", ("expires_at", "revoked_at", "rotated_at", "last_used_at")),
        ("versions", ("num_bytes",)),
        ("models", ("num_bytes",)),
        ("jobs", ("pause_requested", "saved_step", "lost_at_step")),
    ):
        for name in names:
            op.drop_column(table, name)
