"""Statements rendered to SQL once: SQLAlchemy's way there costs more CPU than what each step asks of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection


class RenderedStatement:
    """A statement with positional parameters, whose types need no conversion by SQLAlchemy."""

    def __init__(self, statement: sa.ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        assert compiled.positiontup is not None, "the driver numbers its parameters"
        self._sql = str(compiled)
        self._names = compiled.positiontup
        self._constants = compiled.params

    async def execute(self, connection: AsyncConnection, values: Mapping[str, Any]) -> sa.CursorResult[Any]:
        """Execute with a value for each bind parameter of the statement."""
        given = {**self._constants, **values}
        return await connection.exec_driver_sql(self._sql, tuple(given[name] for name in self._names))
