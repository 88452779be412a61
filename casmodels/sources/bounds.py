"""How much of a server's answers is taken in: the Hub's library reads each to its end, however long that may be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from casmodels.errors import UpstreamError

MOST_ANSWER_BYTES: Final = 32 << 20
"""Of one answer: the description of a repo of 50,000 files is 17 MB, and larger ones come in pages."""
_MOST_BYTES: Final = 128 << 20
"""Of all pages of one."""
_LEAST_ANSWER_BYTES: Final = 1024
"""What an empty page counts as."""
_LONGEST_SECONDS: Final = 600.0


class Budget:
    """What one question may cost, answered in however many pages."""

    def __init__(self, host: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._until = clock() + _LONGEST_SECONDS
        self._left_bytes = _MOST_BYTES

    def bounded(self, answer: Iterator[bytes]) -> Iterator[bytes]:
        """The parts of an answer as they come. Raises UpstreamError as soon as it is too long, or takes too long."""
        self._left_bytes -= _LEAST_ANSWER_BYTES
        size_bytes = 0
        for part in answer:
            size_bytes += len(part)
            self._left_bytes -= len(part)
            if size_bytes > MOST_ANSWER_BYTES or self._left_bytes < 0:
                raise self.refusal("more than any repo's description has")
            if self._clock() > self._until:
                raise self.refusal("for too long")
            yield part
        if self._left_bytes < 0:
            raise self.refusal("more than any repo's description has")

    def refusal(self, how: str) -> UpstreamError:
        """The error for a server that answers so."""
        return UpstreamError(f"{self._host} answered {how}", remedy="check the endpoint, and whether it is a hub")
