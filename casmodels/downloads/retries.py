"""When to try again, and after how long.

Exponential backoff with full jitter, after M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture
Blog, 2015): the pause is drawn evenly from nothing to the bound, so that clients that failed together do not
come back together.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from casmodels.errors import InterruptedPullError, NetworkError

_TRANSIENT_STATUSES: Final = frozenset({408, 429})
_RATE_LIMIT_RESET: Final = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")
"""In the Hub's ``RateLimit`` header: nothing remains, and for how many seconds."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently to try.

    ``attempts`` are tries in a row that brought nothing new, ``connect_attempts`` the same where nobody even
    answered; ``total_attempts`` bounds all tries for one file. What a server asks for with Retry-After is
    honoured up to ``longest_retry_after_seconds``.
    """

    attempts: int = 6
    connect_attempts: int = 3
    total_attempts: int = 100
    base_seconds: float = 1.0
    longest_seconds: float = 30.0
    longest_retry_after_seconds: float = 120.0


class TransientError(Exception):
    """A failure that may pass. ``connected`` says whether anybody answered; ``asked_seconds`` is what the
    server wants.
    """

    def __init__(self, reason: str, *, connected: bool = True, asked_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.connected = connected
        self.asked_seconds = asked_seconds


class Attempts:
    """The tries for one thing. ``wait(seconds)`` sleeps, and says True when it was woken because all is to
    stop.
    """

    def __init__(
        self,
        what: str,
        policy: RetryPolicy,
        *,
        wait: Callable[[float], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._what = what
        self._policy = policy
        self._wait = wait
        self._jitter = jitter
        self._total = 0
        self._in_a_row = 0

    def failed(self, failure: TransientError, *, progressed: bool = False) -> None:
        """Pause before the next try. Raises NetworkError when there is to be none, InterruptedPullError when
        stopped.
        """
        self._total += 1
        self._in_a_row = 1 if progressed else self._in_a_row + 1
        allowed = self._policy.attempts if failure.connected else self._policy.connect_attempts
        if self._in_a_row >= allowed or self._total >= self._policy.total_attempts:
            tries = "once" if self._total == 1 else f"{self._total} times"
            raise NetworkError(
                f"{self._what}: {failure.reason} (tried {tries})",
                remedy="check the network, then run the same command again: it resumes",
            ) from failure
        if self._wait(self._pause_seconds(failure.asked_seconds)):
            raise InterruptedPullError(f"{self._what} was interrupted", remedy="the next run resumes") from failure

    def _pause_seconds(self, asked_seconds: float | None) -> float:
        policy = self._policy
        if asked_seconds is not None:
            return min(asked_seconds, policy.longest_retry_after_seconds) + self._jitter() * policy.base_seconds
        bound = min(policy.longest_seconds, policy.base_seconds * 2.0 ** (self._in_a_row - 1))
        return self._jitter() * bound


def is_transient(status: int) -> bool:
    """Whether an HTTP status may pass by itself."""
    return status in _TRANSIENT_STATUSES or status >= 500


def asked_seconds(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """How long a server asks to be left alone: Retry-After (seconds or a date), else the Hub's RateLimit; or
    None.
    """
    given = headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    if given:
        try:
            moment = parsedate_to_datetime(given)
        except (ValueError, OverflowError):  # the latter for a time zone of very many hours
            return None
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - datetime.fromtimestamp(now(), UTC)).total_seconds())
    reset = _RATE_LIMIT_RESET.search(headers.get("RateLimit", ""))
    return float(reset.group(1)) if reset else None
