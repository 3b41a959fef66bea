"""Start a PostgreSQL, say its process id and directory, and wait to be killed."""

import signal
import sys

from codex_journal.testing import PostgresServer

with PostgresServer() as server:
    sys.stdout.write(f"{server.pid} {server.directory}\n")
    sys.stdout.flush()
    signal.pause()
