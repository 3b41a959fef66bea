"""The two runtime roles of PostgreSQL and what each may do; nobody but the owner may change rows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codex_api.approvals import DecisionKind
from codex_api.rows import RowKind

SCRAM_ITERATIONS = 4096  # what servers expect since PostgreSQL 10

# What only the operator may say: a worker must not be able to speak for a person.
_OPERATOR_KINDS = (RowKind.SESSION_OPENED, RowKind.MESSAGE, RowKind.SANDBOX_ADDRESS)
_SESSION_COLUMNS = "last_seq, ended_turn, closed"
_TABLES = "sessions, journal, decisions, alembic_version"


class MissingRole(Exception):
    """A role that does not exist, and no password to create it with."""


@dataclass(frozen=True)
class Role:
    name: str
    password: str | None = None
    """None: the role must exist; otherwise it is created, or gets this password."""


@dataclass(frozen=True)
class Roles:
    operator: Role
    worker: Role


def scram_verifier(password: str, salt: bytes) -> str:
    """Return what PostgreSQL stores for a password (RFC 5803), so that the password itself never reaches its log.

    Raises ValueError for a password that is empty or not ASCII: such ones would need SASLprep.
    """
    if not password or not password.isascii():
        raise ValueError("a database password must be ASCII and not empty")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


async def ensure_roles(connection: AsyncConnection, roles: Roles) -> None:
    """Create what is missing and grant what each role needs; repeatable. Raises MissingRole."""
    for role in (roles.operator, roles.worker):
        await _ensure_login(connection, role)
    worker_kinds = ", ".join(f"'{kind}'" for kind in _OPERATOR_KINDS)
    worker_checks = {"journal": f"kind NOT IN ({worker_kinds})", "decisions": f"kind = '{DecisionKind.EXPIRE}'"}
    await _grant(connection, roles.worker.name, _SESSION_COLUMNS, worker_checks)
    operator_checks = {"journal": "true", "decisions": "true"}
    await _grant(connection, roles.operator.name, f"{_SESSION_COLUMNS}, projected_seq", operator_checks)
    await connection.exec_driver_sql(f"GRANT INSERT ON sessions TO {_quote(connection, roles.operator.name)}")


async def _ensure_login(connection: AsyncConnection, role: Role) -> None:
    exists = await connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": role.name})
    if role.password is None:
        if not exists:
            raise MissingRole(f"database role {role.name!r} does not exist; create it, or give its password file")
        return
    verb = "ALTER" if exists else "CREATE"
    verifier = scram_verifier(role.password, os.urandom(16))
    await connection.exec_driver_sql(f"{verb} ROLE {_quote(connection, role.name)} LOGIN PASSWORD '{verifier}'")


async def _grant(connection: AsyncConnection, role: str, columns: str, insert_checks: dict[str, str]) -> None:
    quoted = _quote(connection, role)
    schema = _quote(connection, str(await connection.scalar(sa.text("SELECT current_schema()"))))
    statements = [
        f"GRANT USAGE ON SCHEMA {schema} TO {quoted}",
        # Rights of an older release must not survive.
        f"REVOKE ALL ON {_TABLES} FROM {quoted}",
        f"GRANT SELECT ON {_TABLES} TO {quoted}",
        f"GRANT INSERT ON journal, decisions TO {quoted}",
        f"GRANT UPDATE ({columns}) ON sessions TO {quoted}",
    ]
    for table, check in insert_checks.items():
        read, insert = (_quote(connection, f"{verb}_{role}") for verb in ("read", "insert"))
        statements += [
            f"DROP POLICY IF EXISTS {read} ON {table}",
            f"DROP POLICY IF EXISTS {insert} ON {table}",
            f"CREATE POLICY {read} ON {table} FOR SELECT TO {quoted} USING (true)",
            f"CREATE POLICY {insert} ON {table} FOR INSERT TO {quoted} WITH CHECK ({check})",
        ]
    for statement in statements:
        await connection.exec_driver_sql(statement)


def _quote(connection: AsyncConnection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
