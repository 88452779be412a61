"""Model cards, which anybody may have written."""

from __future__ import annotations

import json
import time

import pytest

from casmodels.serve.cards import read_card


def test_a_card_is_read() -> None:
    card = read_card("---\nlicense: mit\nlanguage:\n- en\n- 'no'\ndate: 2024-01-02\n---\n# A model\n")
    assert card == {"license": "mit", "language": ["en", "no"], "date": "2024-01-02"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# A model",
        "---\nnever closed",
        "---\n- a\n- list\n---\n",
        "---\n: : :\n\t- [\n---\n",
        "---\n!!python/object/apply:os.system ['true']\n---\n",
        "---\nself: 1\n---\n",
        "---\n" + "a: " + "[" * 2000 + "\n---\n",
    ],
)
def test_what_is_no_card_says_nothing(text: str) -> None:
    assert read_card(text) == {}


def test_numbers_that_json_has_not_are_left_empty() -> None:
    card = read_card("---\na: .nan\nb: [.inf, 1.5]\nc: 0x" + "f" * 5000 + "\n---\n")
    assert json.loads(json.dumps(card, allow_nan=False)) == {"a": None, "b": [None, 1.5], "c": None}


def test_a_card_that_unfolds_without_end_is_given_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begun = time.monotonic()
    assert read_card("---\n" + "\n".join(lines) + "\n---\n") == {}
    assert time.monotonic() - begun < 2
