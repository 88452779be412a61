"""JSON that every reader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from hypothesis import given
from hypothesis import strategies as st

from casmodels.json_text import json_text

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refused(constant: str) -> NoReturn:
    raise AssertionError(constant)


@given(DOCUMENTS)
def test_any_document_is_strict_json(document: object) -> None:
    text = json_text(document, str)
    assert text.isascii()
    json.loads(text, parse_constant=refused)


@given(st.recursive(st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_what_json_has_comes_back(document: object) -> None:
    assert json.loads(json_text(document, str)) == document


def test_other_objects_and_indents() -> None:
    assert json_text([Path("a"), float("nan")], str, indent=1) == '[\n "a",\n null\n]'
    assert json_text({"a": Path("b")}, str) == '{"a": "b"}'
