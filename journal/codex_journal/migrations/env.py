"""Alembic's entry: runs in the transaction that codex_journal.migrating opened and locked."""

from alembic import context

from codex_journal.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
