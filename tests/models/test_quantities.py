from __future__ import annotations

import pytest

from casmodels.quantities import duration, number, size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (90_868_376, "86.7 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**3 - 1, "1.0 GiB"),
        (4 * 1024**3, "4.0 GiB"),
        (3 * 1024**6, "3072.0 PiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_size(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3599.7, "1 h 0 min"), (7260, "2 h 1 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.01474, "0.0147"), (8.3, "8.3"), (99.94, "99.9"), (100.4, "100"), (12502.3, "12,502")],
)
def test_measured_numbers(value: float, words: str) -> None:
    assert number(value) == words
