"""Standard output that says that it is a terminal."""

from __future__ import annotations

import io


class Terminal(io.TextIOWrapper):
    """Keeps what is written to it; made of an ``io.BytesIO``."""

    def isatty(self) -> bool:
        return True

    def getvalue(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()
