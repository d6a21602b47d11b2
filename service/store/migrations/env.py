"""Alembic's entry: runs the steps on the connection, and in the transaction, that `database.migrate` opened."""

from alembic import context

from service.store import signal_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=signal_tables.workers.metadata,  # of the tables of both modules
    render_as_batch=True,  # SQLite cannot alter a table in place
)
context.run_migrations()
