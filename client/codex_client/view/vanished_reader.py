"""Writing where the reader may go, as after ``| head -1`` or with a closed terminal: no reason to stop the turn."""

from __future__ import annotations

import errno
import io
import os
from typing import IO

# A pipe nobody reads any more; a terminal that was closed.
_READER_GONE = (errno.EPIPE, errno.EIO)


class ForgivingStream(io.TextIOBase):
    """Passes text on, flushed, until the reader has gone; then it takes it in silence."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        if not self._gone:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                if error.errno not in _READER_GONE:
                    raise
                self._gone = True
                self._forget()
        return len(text)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class declares a plain attribute
        return str(getattr(self._stream, "encoding", "utf-8"))

    def _forget(self) -> None:
        # What is still buffered would raise once more when the interpreter flushes it at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)
