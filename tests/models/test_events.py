from __future__ import annotations

import json
import logging

import pytest

from casmodels.events import JsonLines, log_event, record_of

EVENT = {
    "logger": "casmodels.pull",
    "level": "error",
    "model": "ada-002",
    "status": "failed",
    "path": "config.json",
    "size_bytes": 1024,
    "duration_seconds": 1.5,
    "error": "a wrong byte",
}


def test_an_event_is_a_record_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    log_event(EVENT)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("casmodels.pull", logging.ERROR)
    assert record.getMessage() == "ada-002 failed config.json 1.0 KiB in 1.5 s (a wrong byte)"
    fields = {key: value for key, value in EVENT.items() if key not in ("logger", "level")}
    assert vars(record)["fields"] == fields
    assert vars(record).items() >= fields.items()


def test_a_text_of_its_own_is_taken_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_event({"text": "100 % of it"})
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("casmodels", "INFO", "100 % of it")


def test_numbers_that_json_has_not_are_null() -> None:
    numbers = {"accuracy": float("inf"), "each": [float("nan"), -float("inf"), 1.5]}
    line = JsonLines().format(record_of({"text": "NaN", **numbers}))
    document = json.loads(line, parse_constant=pytest.fail)
    assert (document["text"], document["accuracy"], document["each"]) == ("NaN", None, [None, None, 1.5])
