"""Uploads in parts, exports of models, models that callers bring, and what a model was trained on."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A tuned model that exists names the file that it was trained on, as far as that is still there."""
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mapping", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("completion", sa.Text(), nullable=True),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_status_expires_at", "uploads", ["status", "expires_at"])
    op.create_index("ix_uploads_project_status", "uploads", ["project", "status"])
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id"),
    )
    op.create_index("ix_upload_parts_upload_id", "upload_parts", ["upload_id"])
    op.create_table(
        "model_exports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_model_exports"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_model_exports_job_id"),
        sa.UniqueConstraint("job_id", name="uq_model_exports_job_id"),
        sa.UniqueConstraint("folder", name="uq_model_exports_folder"),
    )
    op.create_index("ix_model_exports_project_created_at_id", "model_exports", ["project", "created_at", "id"])
    op.create_index("ix_model_exports_expires_at", "model_exports", ["expires_at"])
    op.add_column("models", sa.Column("data_sha256", sa.Text(), nullable=True))
    _set_optional(True)
    trained_on = "CAST(jobs.spec AS json) ->> 'training_file'"
    if op.get_bind().dialect.name == "sqlite":
        trained_on = "json_extract(jobs.spec, '$.training_file')"
    sha256 = f"SELECT files.sha256 FROM jobs JOIN files ON files.id = {trained_on} WHERE jobs.id = models.job_id"
    op.execute(f"UPDATE models SET data_sha256 = ({sha256})")


def downgrade() -> None:
    """What came with this step is gone, models that callers brought included; `infonce gc` removes their bytes."""
    for table in ("model_exports", "upload_parts", "uploads"):
        op.drop_table(table)
    op.execute("DELETE FROM models WHERE job_id IS NULL")
    exporting = "SELECT id FROM jobs WHERE kind = 'export'"
    op.execute(f"DELETE FROM job_events WHERE job_id IN ({exporting})")
    op.execute("DELETE FROM jobs WHERE kind = 'export'")
    _set_optional(False)
    op.drop_column("models", "data_sha256")


def _set_optional(optional: bool) -> None:
    """Whether a model may have no parent and no job; SQLite copies the table, to which no other refers."""
    with op.batch_alter_table("models") as models:
        for name in ("parent", "job_id"):
            models.alter_column(name, existing_type=sa.Text(), nullable=optional)
