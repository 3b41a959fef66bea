"""Sessions on one machine: Temporal's dev server, a SQLite journal, a worker and a sandbox, all of the user's own."""
