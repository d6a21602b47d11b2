"""Exports of collections, beside those of models and in one table with them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEPT = "id, project, created_at, job_id, model, folder, num_bytes, sha256, expires_at"


def upgrade() -> None:
    """Exports that exist are of models."""
    _create("exports", sa.Column("collection_id", sa.Text(), nullable=True), model_is_optional=True)
    op.execute(f"INSERT INTO exports ({_KEPT}) SELECT {_KEPT} FROM model_exports")
    op.drop_table("model_exports")


def downgrade() -> None:
    """Exports of collections are gone, and those that are still being brought; `infonce gc` removes their bytes."""
    _create("model_exports", model_is_optional=False)
    op.execute(f"INSERT INTO model_exports ({_KEPT}) SELECT {_KEPT} FROM exports WHERE collection_id IS NULL")
    op.drop_table("exports")
    exporting = "SELECT id FROM jobs WHERE kind = 'export' AND id NOT IN (SELECT job_id FROM model_exports)"
    op.execute(f"DELETE FROM job_events WHERE job_id IN ({exporting})")
    op.execute(f"DELETE FROM jobs WHERE id IN ({exporting})")
    nobodys = "SELECT id FROM collections WHERE project IN ('(arriving)', '(given up)')"
    for table in ("document_vectors", "deletions", "documents"):
        op.execute(f"DELETE FROM {table} WHERE collection_id IN ({nobodys})")
    op.execute("DELETE FROM collections WHERE project IN ('(arriving)', '(given up)')")


def _create(name: str, *more: sa.Column[str], model_is_optional: bool) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=model_is_optional),
        *more,
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=f"fk_{name}_job_id"),
        sa.UniqueConstraint("job_id", name=f"uq_{name}_job_id"),
        sa.UniqueConstraint("folder", name=f"uq_{name}_folder"),
    )
    op.create_index(f"ix_{name}_project_created_at_id", name, ["project", "created_at", "id"])
    op.create_index(f"ix_{name}_expires_at", name, ["expires_at"])
