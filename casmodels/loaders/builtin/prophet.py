"""Prophet: forecasts of time series, from the JSON that ``prophet.serialize.model_to_json`` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import library
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.stored_model import StoredModel
from casstore.errors import InvalidInputError

_MARKS: Final = (b'"changepoint_prior_scale"', b'"changepoint_range"')
_MARKS_WITHIN_BYTES: Final = 4096
"""Where a model's JSON has these, in the order in which they are written and in that of the alphabet."""


class ProphetLoader:
    """A ``prophet.Prophet``. It is called with a number of periods or with dates, and gives the columns of its
    ``predict`` as NumPy's arrays, in the order of the dates that were given."""

    name = "prophet"
    copies = 12  # measured: text, its parts as text once more, tables

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """A ``.json`` that begins as Prophet's do. It is asked when no other loader knows the version."""
        heads = {path: model.head(path, _MARKS_WITHIN_BYTES) for path in model.ending(".json")}
        return model.only([path for path, head in heads.items() if all(mark in head for mark in _MARKS)])

    def devices(self) -> Sequence[str]:
        """Prophet works on the CPU."""
        return (CPU,)

    def load(self, model: StoredModel, request: Request, *, freq: str | None = None) -> Loaded:
        """``freq`` is the length of a period in pandas' words, such as ``h`` or ``MS``, instead of the history's."""
        serialize = library("prophet.serialize", "prophet")
        path = request.files[0]
        try:
            made = serialize.model_from_dict(model.read_json(path))
        except KeyError as error:
            raise NotLoadableError(f"{model.called(path)} is no whole model of Prophet's: it lacks {error}") from error

        def call(data: Any) -> Any:
            return _forecast(made, _frame(made, data, freq))

        def prepare(data: Any) -> Any:
            # All at once, and what is cut into batches is the forecast: its uncertainty grows from the first date on.
            frame = _frame(made, data, freq)
            return _forecast(made, frame) if len(frame) else []

        return Loaded(made, call, lambda batch: batch, prepare)


def _frame(made: Any, data: Any, freq: str | None) -> Any:
    """The data as Prophet wants them: a number of periods after the history, dates, or columns with the dates in
    ``ds``. Raises InvalidInputError."""
    pandas = library("pandas", "prophet")
    if isinstance(data, pandas.DataFrame):
        frame = data
    elif isinstance(data, Mapping):
        frame = pandas.DataFrame(dict(data))
    elif isinstance(data, int):
        return _future(made, data, freq)
    elif isinstance(data, str | bytes) or not hasattr(data, "__len__"):
        raise InvalidInputError(
            f"a {type(data).__name__} is nothing to forecast",
            remedy="give a number of periods, a list of dates, or columns",
        )
    else:
        frame = pandas.DataFrame({"ds": list(data)})
    if "ds" not in frame:
        raise InvalidInputError("the data have no column 'ds'", remedy="call the column of the dates so")
    return frame.assign(ds=pandas.to_datetime(frame["ds"]))


def _future(made: Any, periods: int, freq: str | None) -> Any:
    if periods < 1:
        raise InvalidInputError(f"there is no forecast of {periods} periods", remedy="use a whole number from 1 on")
    pandas = library("pandas", "prophet")
    length = freq if freq is not None else pandas.infer_freq(made.history_dates.tail(5))
    if length is None:
        raise InvalidInputError(
            "the last dates of the history lie unevenly", remedy="load it with freq=, or give dates"
        )
    return made.make_future_dataframe(periods, freq=length, include_history=False)


def _forecast(made: Any, frame: Any) -> dict[str, Any]:
    import numpy as np

    found = made.predict(frame)  # sorted by date
    places = np.argsort(np.argsort(frame["ds"].to_numpy(), kind="stable"))
    return {name: found[name].to_numpy()[places] for name in found}
