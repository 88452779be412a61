"""Questions that may hang, asked so that whoever asked can go away."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from casmodels.cancellation import Cancellation
from casmodels.downloads.sockets import Sockets

_Answer = TypeVar("_Answer")

_LEAVE_SECONDS: Final = 1.0
"""How long a thread whose sockets were shut is waited for."""


def ask(question: Callable[[], _Answer], sockets: Sockets, cancellation: Cancellation) -> _Answer:
    """The answer to a question, asked in a thread of its own that notes its ``sockets``.

    On cancellation they are shut, which ends the thread; where it has none yet, as while a host's name is resolved or
    a connection is made, it is left to end by its own time-out. It holds nothing. Raises InterruptedPullError, or
    what the question raises.
    """
    answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            answers.put(question())
        except BaseException as error:
            failures.append(error)
            answers.put(None)

    def leave() -> None:
        sockets.shut()
        answers.put(None)

    thread = threading.Thread(target=run, name="casmodels-question", daemon=True)
    thread.start()
    with cancellation.waking(leave):
        answer = answers.get()
    thread.join(_LEAVE_SECONDS)
    cancellation.check()
    if failures:
        raise failures[0]
    assert answer is not None
    return answer
