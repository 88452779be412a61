"""The bounded memory."""

from __future__ import annotations

from casmodels.serve.memo import Memo


def test_the_values_used_last_are_kept() -> None:
    made: list[str] = []
    memo: Memo[str, str] = Memo(2)

    def get(key: str) -> str:
        return memo.get(key, lambda: made.append(key) or key)

    for key in ("a", "b", "a", "c", "a", "b"):
        assert get(key) == key
    assert made == ["a", "b", "c", "b"]


def test_a_failure_is_not_kept() -> None:
    memo: Memo[str, float] = Memo(2)
    try:
        memo.get("a", lambda: 1 / 0)
    except ZeroDivisionError:
        assert memo.get("a", lambda: 1.0) == 1.0


def test_heavy_values_push_out_more_and_may_be_too_heavy_to_keep() -> None:
    made: list[str] = []
    memo: Memo[str, str] = Memo(5, len)

    def get(key: str) -> str:
        return memo.get(key, lambda: made.append(key) or key)

    for key in ("aa", "bb", "ccc", "bb", "aa", "eeeeee", "eeeeee", "aa"):
        assert get(key) == key
    assert made == ["aa", "bb", "ccc", "aa", "eeeeee", "eeeeee", "aa"]
