"""What schemathesis looks for in every answer beside the description: anything from outside the store.

Loaded by schemathesis in its own process (SCHEMATHESIS_HOOKS); NOT_TO_BE_SEEN has one text to a line.
"""

from __future__ import annotations

import os

import schemathesis

_UNSEEN = os.environb[b"NOT_TO_BE_SEEN"].splitlines()


@schemathesis.check
def nothing_from_outside(
    _context: schemathesis.CheckContext, response: schemathesis.Response, _case: schemathesis.Case
) -> None:
    """No secret and no path of the machine, in the headers neither."""
    answer = "\n".join(value for values in response.headers.values() for value in values).encode() + response.content
    for text in _UNSEEN:
        if text in answer:
            raise AssertionError(f"{text!r} is in the answer")
