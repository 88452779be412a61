"""The process in which an isolated model is: loads it, and answers until its owner hangs up."""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import first_line
from casmodels.loaders.pipe import packed_error, portable, receive, send, unpacked
from casstore.errors import InvalidInputError

_GRACE_S: Final = 5.0
"""How long what is under way has to end by itself when the owner is gone."""


def serve(descriptor: int) -> None:
    """Load what the first message says, answer the others, and end the process."""
    connection, idle = Connection(descriptor), threading.Event()
    with suppress(OSError):
        os.dup2(2, 1)  # what libraries print is not for the owner's standard output
    threading.Thread(target=_end_with_owner, args=(descriptor, idle), daemon=True).start()
    with suppress(EOFError, OSError, KeyboardInterrupt):  # the owner is gone
        _serve(connection, idle)
    atexit._run_exitfuncs()  # some libraries remove their temporary files only then
    os._exit(0)  # the rest that they would tidy up, the system does


def _serve(connection: Connection, idle: threading.Event) -> None:
    """``idle`` is set while it waits for the next message, and once there will be none."""
    from casmodels.library import Store
    from casmodels.loaders.loading import load_model

    try:
        directory, config, registry, target, options = receive(connection)
        store = Store(directory, config=config, registry=registry)
        model = load_model(store, target, **options)
    except Exception as error:
        send(connection, ("failed", *packed_error(error)))
        return
    with store, model:
        send(connection, ("done", (model.loader, model.device)))
        while True:
            idle.set()
            try:
                data = connection.recv_bytes()
            except (EOFError, OSError):
                return
            idle.clear()
            answer: tuple[Any, ...]
            try:
                answer = ("done", _answer(model, unpacked(data)))
            except Exception as error:
                answer = ("failed", *packed_error(error))
            _send_answer(connection, answer)


def _send_answer(connection: Connection, answer: tuple[Any, ...]) -> None:
    try:
        send(connection, answer)
    except InvalidInputError as error:
        wrong = NotLoadableError(
            f"what the model gives cannot leave its worker: {first_line(error.__cause__ or error)}",
            remedy="ask it for less, or load it without isolated=True",
        )
        send(connection, ("failed", *packed_error(wrong)))


def _answer(model: Any, message: tuple[str, Any, Any]) -> Any:
    match message:
        case ("call", arguments, keywords):
            return portable(model(*arguments, **keywords))
        case ("process", data, batch_size):
            return portable(model.process_batch(data, batch_size=batch_size))
        case ("example", items, _):
            return portable(model.example(items))
        case ("move", device, _):
            return model.to(device).device
    raise AssertionError(message)


def _end_with_owner(descriptor: int, idle: threading.Event) -> None:
    """End the process when the other side of its socket is closed, also in the middle of a call; one that is idle hears
    of it by itself, and is left to close its model."""
    import _thread

    poll = select.poll()
    poll.register(descriptor, 0)  # hanging up is always reported
    poll.poll()
    if not idle.is_set():
        _thread.interrupt_main()
    time.sleep(_GRACE_S)
    os._exit(1)
