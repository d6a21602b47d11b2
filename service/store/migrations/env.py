"""Alembic's entry: runs the steps on the connection, and in the transaction, that `database.migrate` opened."""

from alembic import context

from service.store.signal_tables import metadata  # with the tables of both modules

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place
)
context.run_migrations()
