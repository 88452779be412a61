"""Data cut into batches, repeated, and results put together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from casmodels.loaders.batches import joined, repeated


class Answer(NamedTuple):
    scores: list[int]
    cache: None


def test_named_tuples_are_joined_by_their_fields() -> None:
    answers = [(Answer([1, 2], None), 2), (Answer([3], None), 1)]
    assert joined(answers) == Answer([1, 2, 3], None)
    assert type(joined(answers)) is Answer


def test_plain_tuples_stay_plain() -> None:
    assert joined([(([1], [2]), 1), (([3], [4]), 1)]) == ([1, 3], [2, 4])


def test_few_items_come_again() -> None:
    assert repeated(["a", "b"], 5) == ["a", "b", "a", "b", "a"]
    assert repeated(["a", "b"], 1) == ["a"]
    again = repeated({"x": np.array([[1], [2]]), "y": [5, 6]}, 3)
    assert again["x"].tolist() == [[1], [2], [1]]
    assert again["y"] == [5, 6, 5]
