"""Data for a model, out of a file of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from casmodels.loaders.inputs import read_input
from casstore.errors import InvalidInputError, NotFoundError


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("lines.txt", "rain\n\n  \nsnow \n", ["rain", "snow "]),
        ("lines", "[1]", ["[1]"]),
        ("list.JSON", "[1, 2]", [1, 2]),
        ("lists.json", '{"x": [1], "y": [2]}', {"x": [1], "y": [2]}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_and_json(tmp_path: Path, name: str, text: str, data: object, encoding: str) -> None:
    (tmp_path / name).write_text(text, encoding)
    assert read_input(tmp_path / name) == data


def test_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2))
    assert read_input(tmp_path / "x.npy").tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", b"\xff", "a.txt is no text in UTF-8"),
        ("a.json", b"\xff", "a.json is no text in UTF-8"),
        ("a.txt", b"a\0", "a.txt is no text in UTF-8"),
        ("a.txt", b" \n", "a.txt is empty"),
        ("a.json", b"{}", "a.json holds no items that are all alike"),
        ("a.json", b'"text"', "a.json holds no items that are all alike"),
        ("a.json", b"[" * 100_000, "a.json is no JSON"),
        ("a.npy", b"[1]", "a.npy is no .npy file of numbers"),
    ],
)
def test_what_will_not_do(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=text) as caught:
        read_input(tmp_path / name)
    assert (
        caught.value.remedy
        == "use a file of lines of text, a .npy of numbers, or a .json of a list or of lists by name"
    )


def test_nothing_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"a\.txt does not exist"):
        read_input(tmp_path / "a.txt")
    with pytest.raises(InvalidInputError, match="is a directory"):
        read_input(tmp_path)
