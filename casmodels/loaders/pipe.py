"""What goes between a model's worker and its owner: pickled messages of plain values and NumPy's arrays.

Tensors become arrays, so that the owner need not load torch to read an answer; bfloat16 becomes float32, which holds
it. Both ends are this program's own, on a socket that nobody else can open.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from casmodels.errors import NotLoadableError
from casmodels.extras import first_line
from casstore.errors import FailedError, InvalidInputError, StoreError

_PLAIN = (str, bytes, int, float, complex, bool, type(None))


def send(connection: Connection, message: object) -> None:
    """Send one message. Raises InvalidInputError for what cannot be pickled, and OSError."""
    try:
        data = pickle.dumps(message, protocol=5)
    except Exception as error:  # whatever an object's own pickling does
        raise InvalidInputError(
            f"it cannot be sent to a process of its own: {first_line(error)}",
            remedy="give plain values and arrays, or load the model without isolated=True",
        ) from error
    connection.send_bytes(data)


def receive(connection: Connection) -> Any:
    """The next message. Raises EOFError and OSError, and what the unpickling raises."""
    return unpacked(connection.recv_bytes())


def unpacked(data: bytes) -> Any:
    """A message from its bytes. Raises what the unpickling raises."""
    return pickle.loads(data)


def portable(value: Any) -> Any:
    """The value with arrays for tensors and plain mappings and sequences for others. Raises NotLoadableError."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if isinstance(value, _PLAIN) or (numpy is not None and isinstance(value, numpy.ndarray | numpy.generic)):
        return value
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, Mapping):
        return {name: portable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [portable(each) for each in value]
    if isinstance(value, tuple):
        return tuple(portable(each) for each in value)
    raise NotLoadableError(
        f"the model gives a {type(value).__name__}, which cannot leave its worker",
        remedy="ask it for less, or load it without isolated=True",
    )


def packed_error(error: Exception) -> tuple[type[Exception], tuple[Any, ...], dict[str, Any]]:
    """An error as it can be sent: as it is if it is ours or Python's own, else as one sentence."""
    if not isinstance(error, StoreError) and type(error).__module__ != "builtins":
        error = FailedError(f"the model failed with {type(error).__name__}: {first_line(error)}")
    try:
        pickle.dumps((error.args, error.__dict__))
    except Exception:  # it carries something that stays here
        error = FailedError(f"the model failed with {type(error).__name__}: {first_line(error)}")
    return type(error), error.args, error.__dict__


def unpacked_error(kind: type[Exception], arguments: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    """The error again, without what its class makes of its arguments."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(state)
    return error
