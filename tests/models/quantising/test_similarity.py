"""Comparing two models on a sample, with models that are a line of Python each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from casmodels.errors import NotQuantisableError
from casmodels.library.quantised_record import QUANTISED, quantised_of, record_of
from casmodels.loaders import Loaded, LoadedModel
from casmodels.loaders.builtin.onnx import OnnxLoader
from casmodels.loaders.local import LocalRunner
from casmodels.quantising.similarity import compare
from casmodels.results import Quantised
from casstore.errors import InvalidInputError


def handle(call: Callable[[Any], Any], name: str = "mine@1") -> LoadedModel:
    return LoadedModel(LocalRunner(OnnxLoader(), Loaded(None, call), "cpu"), loader="x", version=name, batch_size=2)


def same(batch: Any) -> Any:
    return np.asarray(batch, "float32")


ROWS = [[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]


def test_cosines_item_by_item() -> None:
    turned = handle(lambda batch: same(batch) @ np.array([[1.0, 1.0], [0.0, 1.0]]))
    found = compare(handle(same), turned, ROWS)
    assert found.items == 3
    assert found.smallest == pytest.approx(0.5**0.5)
    assert found.mean == pytest.approx((0.5**0.5 + 1 + 1) / 3)  # nothing but zeros is like nothing but zeros
    assert found.latency_ratio > 0


def test_every_number_of_an_output_counts() -> None:
    original = handle(lambda batch: {"a": same(batch), "b": (same(batch), np.ones(len(batch), "int64"))})
    other = handle(lambda batch: {"a": same(batch), "b": (-same(batch), np.zeros(len(batch), "int64"))})
    assert compare(original, other, ROWS[:2]).mean == pytest.approx(0)
    assert compare(original, original, ROWS[:2]).smallest == pytest.approx(1)


def test_outputs_whose_squares_are_infinite() -> None:
    large = handle(lambda batch: np.asarray(batch, "float64") * 1e200)
    assert compare(large, large, ROWS).smallest == pytest.approx(1)


def test_outputs_of_other_shapes_are_not_alike() -> None:
    assert compare(handle(same), handle(lambda batch: same(batch)[:, :1]), ROWS).smallest == 0
    assert compare(handle(same), handle(lambda batch: same(batch) * 0), ROWS[:1]).smallest == 0


@pytest.mark.parametrize("sample", ["text", 5, {"a": [1], "b": [1, 2]}])
def test_what_is_no_sample(sample: object) -> None:
    with pytest.raises(InvalidInputError):
        compare(handle(same), handle(same), sample)


def test_failures_are_told_apart() -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError("by zero\nand more")

    with pytest.raises(InvalidInputError, match=r"mine@1 cannot take the sample: by zero$"):
        compare(handle(broken), handle(same), ROWS)
    with pytest.raises(NotQuantisableError, match=r"the quantised model cannot run: by zero$"):
        compare(handle(same), handle(broken), ROWS)
    with pytest.raises(NotQuantisableError, match="no finite numbers"):
        compare(handle(same), handle(lambda batch: same(batch) * np.float32("nan")), ROWS[:1])
    with pytest.raises(InvalidInputError, match="mine@1 gives no numbers that could be compared"):
        compare(handle(lambda batch: ["text"] * len(batch)), handle(same), ROWS)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_an_original_that_gives_no_finite_numbers(number: str) -> None:
    broken = handle(lambda batch: same(batch) + np.float32(number))
    with pytest.raises(
        InvalidInputError, match="mine@1 itself gives outputs for the sample that are no finite"
    ) as told:
        compare(broken, broken, ROWS)
    assert told.value.remedy == "give a sample for which it does not"


def test_what_is_noted_can_be_read_again() -> None:
    quantised = Quantised("mine@1", "int8", "by hand", 10, 40, 3, 0.999123, 0.5, 1.25)
    assert quantised_of({QUANTISED: record_of(quantised)}) == quantised
    without = Quantised("mine@1", "int8", "by hand", 10, 40)
    assert quantised_of({QUANTISED: record_of(without)}) == without


@pytest.mark.parametrize("found", [None, "int8", {}, {"dtype": "int8", "newer": 1}, {"mean_similarity": "much"}])
def test_what_others_have_noted_is_left_alone(found: object) -> None:
    assert quantised_of({QUANTISED: found}) is None
    assert quantised_of({}) is None
