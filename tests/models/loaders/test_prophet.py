"""Prophet: a fitted model forecasts from the store what it forecast before."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels import extras
from casmodels.errors import DeviceError, MissingExtraError, NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casstore.errors import InvalidInputError

prophet = pytest.importorskip("prophet")
serialize = pytest.importorskip("prophet.serialize")
pandas = pytest.importorskip("pandas")
pytestmark = [
    pytest.mark.torch,  # pandas and matplotlib are large, and come with what these tests need
    # What Prophet calls is to change in pandas 4; what the loader asks for, a frequency, is taken in both forms.
    pytest.mark.filterwarnings("ignore:The .* keyword in .* is deprecated"),
    pytest.mark.filterwarnings("ignore:A future version of pandas will return a BaseOffset"),
]

Saver = Callable[..., str]


def fitted(**options: Any) -> Any:
    """To 200 days: a trend, a week, a noise, and what a regressor adds."""
    days = np.arange(200)
    noise = np.random.default_rng(2).normal(size=200)
    promoted = days % 11 == 0
    history = pandas.DataFrame(
        {
            "ds": pandas.date_range("2024-01-01", periods=200, freq="D"),
            "y": 20 + 0.05 * days + 3 * np.sin(2 * np.pi * days / 7) + 0.3 * noise + 4 * promoted,
            "promoted": promoted.astype(float),
        }
    )
    model = prophet.Prophet(**options)
    if options:
        model.add_regressor("promoted")
    return model.fit(history)


@pytest.fixture(scope="module")
def plain() -> Any:
    return fitted()


@pytest.fixture(scope="module")
def text(plain: Any) -> bytes:
    found: bytes = serialize.model_to_json(plain).encode()
    return found


def forecast(model: Any, frame: Any) -> dict[str, Any]:
    np.random.seed(4)  # what Prophet samples its intervals with
    return {name: column.to_numpy() for name, column in model.predict(frame).items()}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, column in expected.items():
        if column.dtype.kind == "M":
            assert (found[name] == column).all(), name
        else:
            assert np.allclose(found[name], column, rtol=1e-9), name


@pytest.mark.parametrize("file", ["model.json", "sales.json.gz", "alphabet.json"])
def test_the_same_forecast(plain: Any, text: bytes, store: Store, saved: Saver, file: str) -> None:
    data = json.dumps(json.loads(text), sort_keys=True, indent=1).encode() if "alphabet" in file else text
    saved({file: gzip.compress(data) if file.endswith(".gz") else data, "README.md": b"# sales"})
    expected = forecast(plain, plain.make_future_dataframe(30, include_history=False))
    with load_model(store, "mine") as model:
        assert (model.loader, model.device) == ("prophet", "cpu")
        assert isinstance(model.model, prophet.Prophet)
        np.random.seed(4)
        same(model(30), expected)
        assert expected["ds"][0] == np.datetime64("2024-07-19")


def test_batches_are_cut_from_one_forecast(plain: Any, text: bytes, store: Store, saved: Saver) -> None:
    """Far from the history the interval is wide, also in the last batch; dates come back in their own order."""
    saved({"model.json": text})
    frame = plain.make_future_dataframe(300, include_history=False)
    expected = forecast(plain, frame)
    with load_model(store, "mine", batch_size=7) as model:
        for data in (frame, list(frame["ds"]), {"ds": frame["ds"].astype(str).tolist()}, frame["ds"].to_numpy()):
            np.random.seed(4)
            same(model.process_batch(data), expected)
        dates = ["2024-09-01", "2024-08-01", "2024-08-15", "2024-08-01"]
        found = model.process_batch(dates, batch_size=3)
        assert found["ds"].astype("datetime64[D]").astype(str).tolist() == dates
        assert found["yhat"].tolist() == [*model(dates[:3])["yhat"], found["yhat"][1]]
        assert found["yhat"][1] == pytest.approx(model(dates[1:2])["yhat"][0])
        assert model.process_batch([]) == []


def test_regressors_and_other_periods(text: bytes, store: Store, saved: Saver) -> None:
    promoted = fitted(seasonality_mode="multiplicative")
    saved({"model.json": serialize.model_to_json(promoted).encode()})
    frame = promoted.make_future_dataframe(20, include_history=False).assign(promoted=[0.0, 1.0] * 10)
    expected = forecast(promoted, frame)
    with load_model(store, "mine") as model:
        np.random.seed(4)
        same(model.process_batch({name: frame[name].tolist() for name in frame}, batch_size=6), expected)
        with pytest.raises(ValueError, match="Regressor 'promoted' missing"):
            model(20)
    saved({"model.json": text})
    with load_model(store, "mine", freq="MS") as model:
        assert model(2)["ds"].astype("datetime64[D]").astype(str).tolist() == ["2024-08-01", "2024-09-01"]


def test_in_a_process_of_its_own_and_nothing_stays(text: bytes, store: Store, saved: Saver, temporary: Path) -> None:
    saved({"model.json": text})
    with load_model(store, "mine", isolated=True) as model, load_model(store, "mine") as here:
        assert np.array_equal(model.process_batch(["2024-08-01", "2024-09-01"])["yhat"], model(45)["yhat"][[13, 44]])
        assert np.array_equal(model(3)["yhat"], here(3)["yhat"])
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-1], r"model\.json in mine@\w{12} is no JSON"),
        (lambda text: text.replace(b'"params"', b'"none"'), r"no whole model of Prophet's: it lacks 'params'$"),
        (lambda text: text.replace(b'"t_scale": ', b'"t_scale": "long", "_": '), r"cannot load model\.json of mine"),
    ],
)
def test_what_is_broken_is_one_sentence(
    text: bytes, store: Store, saved: Saver, change: Callable[[bytes], bytes], said: str
) -> None:
    assert change(text) != text
    saved({"model.json": change(text)})
    with pytest.raises(NotLoadableError, match=said) as raised:
        load_model(store, "mine")
    assert "\n" not in raised.value.message


def test_other_json_is_not_taken_for_it(text: bytes, store: Store, saved: Saver) -> None:
    for other in (b"{}", b"", b"[1", b'{"growth": "linear", "changepoint_range": 0.8}'):
        saved({"model.json": other})
        with pytest.raises(NotLoadableError, match=r"no loader recognises mine@\w{12}, which holds model\.json"):
            load_model(store, "mine")
    saved({"a.json": text, "b.json": text, "c.json": b"{}"})
    with pytest.raises(NotLoadableError, match=r"has 2 models: a\.json, b\.json"):
        load_model(store, "mine")
    with load_model(store, "mine", path="b.json") as model:
        assert model.loader == "prophet"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (0, "no forecast of 0 periods"),
        ("2024-08-01", "a str is nothing to forecast"),
        (2.5, "a float is nothing to forecast"),
        ({"date": ["2024-08-01"]}, "the data have no column 'ds'"),
    ],
)
def test_what_cannot_be_forecast_is_refused(text: bytes, store: Store, saved: Saver, data: Any, said: str) -> None:
    saved({"model.json": text})
    with load_model(store, "mine") as model, pytest.raises(InvalidInputError, match=said):
        model(data)


def test_a_history_of_no_period(plain: Any, store: Store, saved: Saver) -> None:
    uneven = prophet.Prophet().fit(plain.history[["ds", "y"]].drop(index=[196, 198]))
    saved({"model.json": serialize.model_to_json(uneven).encode()})
    with load_model(store, "mine") as model:
        with pytest.raises(InvalidInputError, match="last dates of the history lie unevenly") as raised:
            model(3)
        assert raised.value.remedy == "load it with freq=, or give dates"
    with load_model(store, "mine", freq="D") as model:
        assert len(model(3)["yhat"]) == 3


def test_what_it_cannot_do_is_told(text: bytes, store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved({"model.json": text})
    with pytest.raises(InvalidInputError, match="'prophet' has no option 'periods'") as raised:
        load_model(store, "mine", periods=3)
    assert raised.value.remedy == "it has freq"
    with pytest.raises(DeviceError, match="no device 'cuda' here for the loader 'prophet'"):
        load_model(store, "mine", device="cuda")
    real = extras.import_module
    monkeypatch.setattr(extras, "import_module", lambda name: real("no_such_" + name))
    with pytest.raises(MissingExtraError) as missing:
        load_model(store, "mine")
    assert missing.value.remedy == "run `pip install 'casmodels[prophet]'`"
