"""The one name for "some bytes in memory" (``collections.abc.Buffer`` exists only from Python 3.12 on)."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
