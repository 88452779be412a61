"""A model in a process of its own: when it ends, all of its memory is given back, and a crash there is none here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn

from casmodels.config import Config
from casmodels.errors import UnloadedError, WorkerDiedError
from casmodels.library import Store
from casmodels.loaders.pipe import portable, receive, send, unpacked_error
from casmodels.registry import Registry
from casstore.errors import InvalidInputError

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from casmodels.loaders.worker import serve; serve(int(sys.argv[2]))"
)
"""Not multiprocessing's own way, which runs the user's program once more in the worker."""

_GRACE_S: Final = 2.0


class IsolatedRunner:
    """Asks the worker; see `casmodels.loaders.handle.Runner`.

    What goes to it and what comes back are plain values and NumPy's arrays. A call that is interrupted ends the worker.
    """

    def __init__(self, store: Store, target: str, options: dict[str, Any]) -> None:
        """Start a worker that loads the model. Raises what `load_model` does, and WorkerDiedError."""
        self._target = target
        self._lock = threading.RLock()
        self._closing = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    _START,
                    json.dumps([str(path) for path in sys.path]),
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is for this process to handle
            )
        self._socket, self._connection = ours, Connection(os.dup(ours.fileno()))
        self._end = weakref.finalize(self, _end, self._process, self._socket, self._connection)
        try:
            self.loader, self.device = self._ask((*_opening(store), target, options), "while it loaded the model")
        except BaseException:
            self.close()
            raise

    @property
    def worker_id(self) -> int:
        """The id of the worker."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the worker is gone."""
        return not self._end.alive

    @property
    def model(self) -> NoReturn:
        """It is not here."""
        self._refuse()

    @property
    def processor(self) -> NoReturn:
        """It is not here either."""
        self._refuse()

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run it once, there."""
        return self._ask(("call", portable_inputs(arguments), portable_inputs(keywords)))

    def process(self, data: Any, batch_size: int) -> Any:
        """Run it batch by batch, there."""
        return self._ask(("process", portable_inputs(data), batch_size))

    def example(self, items: int) -> Any:
        """A batch to try it with."""
        return self._ask(("example", items, None))

    def move(self, device: str) -> None:
        """Bring it to another device."""
        self.device = self._ask(("move", device, None))

    def close(self) -> None:
        """End the worker, at once if it does not end by itself. A call under way in another thread is given up."""
        self._closing = True
        _hang_up(self._socket)
        with self._lock:  # whoever waits for an answer has heard: only now may the descriptor become another file's
            self._end()

    def _refuse(self) -> NoReturn:
        raise InvalidInputError(
            f"{self._target} is in a process of its own", remedy="call the handle, or load it without isolated=True"
        )

    def _ask(self, message: tuple[Any, ...], when: str = "in the middle of a call") -> Any:
        with self._lock:
            if not self._end.alive:
                raise UnloadedError(self._target)
            try:
                send(self._connection, message)
                kind, *answer = receive(self._connection)
            except (EOFError, OSError) as error:
                if self._closing:
                    raise UnloadedError(self._target) from error
                reason = self._reason()
                self.close()
                raise WorkerDiedError(
                    f"the worker of {self._target} ended {when}: {reason}", remedy="load it again"
                ) from error
            except InvalidInputError:
                raise  # nothing was sent
            except BaseException:
                self._process.kill()  # its answer would be taken for that to the next call
                self.close()
                raise
        if kind == "failed":
            raise unpacked_error(*answer)
        return answer[0]

    def _reason(self) -> str:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return "it hung up"
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"killed by {name}, most likely because memory ran out" if name == "SIGKILL" else f"killed by {name}"


def _opening(store: Store) -> tuple[str, Config, Registry]:
    """What to open it by again. The worker fetches nothing, so no token; and what is called the owner logs."""
    config = replace(store.config, token_variable=None, implicit_token=False, logs=None)
    return str(store.directory), config, store.registry


def portable_inputs(value: Any) -> Any:
    """Arrays for tensors; what is neither is left to the pickling."""
    if isinstance(value, dict):
        return {name: portable_inputs(each) for name, each in value.items()}
    if isinstance(value, list):
        return [portable_inputs(each) for each in value]
    if isinstance(value, tuple):
        parts = (portable_inputs(each) for each in value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    torch = sys.modules.get("torch")
    return portable(value) if torch is not None and isinstance(value, torch.Tensor) else value


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was first
        end.shutdown(socket.SHUT_RDWR)


def _end(process: subprocess.Popen[bytes], end: socket.socket, connection: Connection) -> None:
    _hang_up(end)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    connection.close()
    end.close()
