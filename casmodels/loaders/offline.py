"""Nothing is fetched from the Hub while a library loads a model, whatever the model's settings name.

The libraries take ``local_files_only``, and yet ask the Hub for what a configuration names, with the user's token.
huggingface_hub asks one function before every request whether it may; here that function says no to whoever loads, and
to nobody else: downloads in other threads go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import library

_offline: Final[ContextVar[bool]] = ContextVar("offline", default=False)
_lock: Final = Lock()
_HUB: Final = "huggingface_hub"


class _Asked:
    """In the place of ``huggingface_hub.constants.is_offline_mode``."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self) -> bool:
        return _offline.get() or bool(self._before())


@contextmanager
def offline(what: object) -> Iterator[None]:
    """No request by huggingface_hub meanwhile in this thread; ``what`` is what messages call the model.

    Raises NotLoadableError where a request was wanted.
    """
    constants = library(f"{_HUB}.constants", _HUB)
    refused = library(f"{_HUB}.errors", _HUB).OfflineModeIsEnabled
    with _lock:
        if not isinstance(constants.is_offline_mode, _Asked):
            constants.is_offline_mode = _Asked(constants.is_offline_mode)
    token = _offline.set(True)
    try:
        yield
    except refused as error:
        raise NotLoadableError(
            f"the settings of {what} name something that is not in it, and nothing is fetched while it is loaded",
            remedy="put into the version what its config.json names",
        ) from error
    finally:
        _offline.reset(token)
