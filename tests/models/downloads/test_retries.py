from __future__ import annotations

import pytest

from casmodels.downloads.retries import Attempts, RetryPolicy, TransientError, asked_seconds, is_transient
from casmodels.errors import InterruptedPullError, NetworkError

NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 120 "}, 120.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20"}, 60.0),
        ({"Retry-After": "Tue, 14 Nov 2023 23:14:20 +0100"}, 60.0),
        ({"Retry-After": "Tue, 14 Nov 2000 22:13:20 GMT"}, 0.0),
        ({"Retry-After": "Tue, 99 Nov 2023 22:13:20 GMT"}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:20 +99999999999999999999"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=10;t=55'}, None),
        ({"Retry-After": "3", "RateLimit": '"api";r=0;t=55'}, 3.0),
    ],
)
def test_what_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_seconds(headers, now=lambda: NOON) == seconds


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_may_pass(status: int) -> None:
    assert is_transient(status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416, 451])
def test_what_does_not_pass(status: int) -> None:
    assert not is_transient(status)


def attempts(policy: RetryPolicy, pauses: list[float]) -> Attempts:
    return Attempts("thing", policy, wait=lambda seconds: bool(pauses.append(seconds)), jitter=lambda: 1.0)


def count(policy: RetryPolicy, *, connected: bool = True, progressed: bool = False) -> int:
    """How many failures it takes until there is no further try."""
    pauses: list[float] = []
    trying = attempts(policy, pauses)

    def fail_for_ever() -> None:
        while True:
            trying.failed(TransientError("x", connected=connected), progressed=progressed)

    with pytest.raises(NetworkError, match=r"thing: x \(tried \d+ times\)"):
        fail_for_ever()
    return len(pauses) + 1


def test_how_often() -> None:
    policy = RetryPolicy(attempts=6, connect_attempts=3, total_attempts=40)
    assert count(policy) == 6
    assert count(policy, connected=False) == 3
    assert count(policy, progressed=True) == 40


def test_progress_starts_the_pauses_anew() -> None:
    pauses: list[float] = []
    trying = attempts(RetryPolicy(attempts=9), pauses)
    for progressed in (False, False, False, True, False):
        trying.failed(TransientError("x"), progressed=progressed)
    assert pauses == [1, 2, 4, 1, 2]


def test_a_pause_that_is_cut_short_ends_it() -> None:
    trying = Attempts("thing", RetryPolicy(), wait=lambda _: True)
    with pytest.raises(InterruptedPullError):
        trying.failed(TransientError("x"))
