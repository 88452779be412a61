from __future__ import annotations

import socket
import threading
import time

import pytest

from casmodels.cancellation import Cancellation
from casmodels.downloads.sockets import Sockets
from casmodels.errors import InterruptedPullError
from casmodels.sources.questions import ask


def fail() -> None:
    raise ZeroDivisionError("by nothing")


def test_a_question_is_answered_or_fails_as_it_would_without() -> None:
    assert ask(lambda: 42, Sockets(), Cancellation()) == 42
    with pytest.raises(ZeroDivisionError, match="by nothing"):
        ask(fail, Sockets(), Cancellation())


@pytest.mark.parametrize("has_socket", [True, False])
def test_whoever_asked_goes_away_and_what_waits_at_a_socket_ends(has_socket: bool) -> None:
    ours, theirs = socket.socketpair()
    sockets, cancellation, asked, end = Sockets(), Cancellation(), threading.Event(), threading.Event()

    def question() -> bytes:
        if has_socket:
            sockets.add(ours)
        asked.set()
        return ours.recv(1) if has_socket else bytes(end.wait(30))

    threading.Thread(target=lambda: (asked.wait(10), cancellation.ask())).start()
    begun = time.monotonic()
    with pytest.raises(InterruptedPullError):
        ask(question, sockets, cancellation)
    assert time.monotonic() - begun < 5
    left = [thread for thread in threading.enumerate() if thread.name == "casmodels-question"]
    assert len(left) == (0 if has_socket else 1)
    end.set()
    for thread in left:
        thread.join()
    ours.close()
    theirs.close()


def test_a_socket_that_comes_too_late_is_shut_at_once() -> None:
    ours, theirs = socket.socketpair()
    sockets = Sockets()
    sockets.shut()
    sockets.add(ours)
    assert theirs.recv(1) == b""
    ours.close()
    sockets.shut()
    theirs.close()


def test_one_that_is_cancelled_already_hears_no_answer() -> None:
    cancellation = Cancellation()
    cancellation.ask()
    with pytest.raises(InterruptedPullError):
        ask(lambda: 42, Sockets(), cancellation)
