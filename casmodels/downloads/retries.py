"""When to try again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    ``attempts`` are tries in a row that brought nothing new; ``connect_attempts`` the same where nobody even answered.
    """

    attempts: int = 6
    connect_attempts: int = 3
    base_seconds: float = 1.0
    longest_seconds: float = 30.0
    longest_retry_after_seconds: float = 120.0
