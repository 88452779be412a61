"""What the Hub's own library is asked: a repo's info and its tree. Importing this costs 0.2 s, so only when
needed.

The library is kept from what a store cannot have: it would ask for a list of known agents besides (a request
of its own), take a token from wherever it finds one, warn on stderr, and wait for ever.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import random
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

with warnings.catch_warnings():
    # At import the library speaks about environment variables that mean nothing here.
    warnings.simplefilter("ignore")
    from huggingface_hub import HfApi, ModelInfo, get_session
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    from huggingface_hub.hf_api import RepoFile

from casmodels.downloads.refusals import refusal
from casmodels.downloads.retries import Attempts, RetryPolicy, TransientError, asked_seconds, is_transient
from casmodels.downloads.sockets import Sockets
from casmodels.errors import NetworkError, OfflineError, UpstreamError
from casmodels.release import user_agent
from casmodels.sources.bounds import Budget
from casmodels.sources.questions import ask
from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    from casmodels.cancellation import Cancellation

_Answer = TypeVar("_Answer")

_LOGGER: Final = "huggingface_hub"
_TRANSPORT_ERRORS: Final[tuple[type[Exception], ...]] = tuple(
    kind for kind in HfHubHTTPError.__mro__ if kind.__module__.partition(".")[0] in ("httpx2", "httpx", "requests")
)
"""The base of what the library's HTTP client raises; which client that is depends on the library's release.
"""
_CONNECTED: Final = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})
"""What the HTTP client calls the moments at which there is a socket to talk over."""
_NOT_CONNECTED: Final = frozenset({"ConnectError", "ConnectTimeout", "ConnectionError", "ProxyError"})

_asking: contextvars.ContextVar[Budget | None] = contextvars.ContextVar("asking", default=None)
_noting: contextvars.ContextVar[Sockets | None] = contextvars.ContextVar("noting", default=None)


class HubClient:
    """One endpoint, asked with one token or none."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        timeout_seconds: float,
        retries: RetryPolicy,
        wait: Callable[[float], bool],
        jitter: Callable[[], float] = random.random,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._wait = wait
        self._jitter = jitter
        self._cancellation = cancellation
        self._api = _Api(endpoint, token)

    def info(self, repo: str, revision: str, *, with_files: bool) -> ModelInfo:
        """What is known of a revision: one request. ``with_files`` asks for sizes and digests too."""
        return self._ask(
            f"{repo} at {revision}" if revision != "main" else repo,
            repo,
            lambda: self._api.model_info(
                repo, revision=revision, files_metadata=with_files, timeout=self._timeout_seconds
            ),
        )

    def tree(self, repo: str, commit: str) -> list[dict[str, Any]]:
        """Every file of a commit as path, size, blob_id and lfs_sha256: for servers whose info lacks them."""
        found = self._ask(repo, repo, lambda: list(self._api.list_repo_tree(repo, revision=commit, recursive=True)))
        return [
            {
                "path": entry.path,
                "size": entry.size,
                "blob_id": entry.blob_id,
                "lfs_sha256": entry.lfs.sha256 if entry.lfs is not None else None,
            }
            for entry in found
            if isinstance(entry, RepoFile)
        ]

    def _ask(self, what: str, repo: str, call: Callable[[], _Answer]) -> _Answer:
        attempts = Attempts(what, self._retries, wait=self._wait, jitter=self._jitter)
        while True:
            try:
                return self._ask_once(what, repo, call)
            except TransientError as failure:
                attempts.failed(failure)

    def _ask_once(self, what: str, repo: str, call: Callable[[], _Answer]) -> _Answer:
        host = urlsplit(self._endpoint).hostname
        try:
            return self._answer(Budget(host), call)
        except HfHubHTTPError as error:
            status, headers = error.response.status_code, error.response.headers
            if is_transient(status):
                raise TransientError(f"{host} answered {status}", asked_seconds=asked_seconds(headers)) from error
            raise refusal(
                what,
                status,
                headers,
                with_token=self._token is not None,
                terms_page=f"{self._endpoint}/{repo}",
            ) from error
        except OfflineModeIsEnabled as error:
            raise OfflineError(f"{what} is needed from {host}, but HF_HUB_OFFLINE is set") from error
        except HFValidationError as error:
            raise InvalidInputError(f"{repo!r} is not the id of a repo", remedy="ids look like org/name") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UpstreamError(
                f"{what}: {host} answered something that is no repo's description",
                remedy="check the endpoint, and whether the network wants a log-in",
            ) from error
        except _TRANSPORT_ERRORS as error:
            if _is_bad_certificate(error):
                raise NetworkError(
                    f"{what}: the certificate of {host} is not valid", remedy="check the clock and the proxy"
                ) from error
            connected = type(error).__name__ not in _NOT_CONNECTED
            reason = f"{host} gave no answer" if connected else f"no connection to {host}"
            raise TransientError(reason, connected=connected) from error

    def _answer(self, budget: Budget, call: Callable[[], _Answer]) -> _Answer:
        if self._cancellation is None:
            with _quietly(budget):
                return call()
        sockets = Sockets()

        def question() -> _Answer:
            _noting.set(sockets)  # of this thread, which asks nothing else
            with _quietly(budget):
                return call()

        return ask(question, sockets, self._cancellation)


class _Api(HfApi):
    """The library's client with our own headers.

    Its own would begin by fetching a list of agents from its default endpoint, for the User-Agent. A release
    that builds headers elsewhere would still get the token, or its refusal, from the constructor.
    """

    def __init__(self, endpoint: str, token: str | None) -> None:
        super().__init__(endpoint=endpoint, token=token if token is not None else False)

    def _build_hf_headers(self, *_: Any, **__: Any) -> dict[str, str]:
        # What is compressed has no size that could be bounded before it is unpacked.
        headers = {"user-agent": user_agent(), "accept-encoding": "identity"}
        if isinstance(self.token, str):
            headers["authorization"] = f"Bearer {self.token}"
        return headers


class _Quiet(logging.Filter):
    """Drops what the library logs while it works for us, and nothing else."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 (logging's signature)
        return _asking.get() is None


_QUIET: Final = _Quiet()


class _Bounded(sys.modules[_TRANSPORT_ERRORS[0].__module__.partition(".")[0]].SyncByteStream):  # type: ignore[misc]
    """The bytes of a response, within a budget; a stream in the terms of the library's HTTP client."""

    def __init__(self, stream: Any, budget: Budget) -> None:
        self._stream = stream
        self._budget = budget

    def __iter__(self) -> Iterator[bytes]:
        return self._budget.bounded(iter(self._stream))

    def close(self) -> None:
        self._stream.close()


def _bound(response: Any) -> None:
    """Called with each response before its body is read; those that others wait for are left alone."""
    budget = _asking.get()
    if budget is None:
        return
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise budget.refusal("compressed, though asked not to")
    response.stream = _Bounded(response.stream, budget)


def _note(request: Any) -> None:
    """Called with each request before it is sent: have its connection's socket noted where that is wanted."""
    sockets = _noting.get()
    if sockets is None:
        return

    def trace(event: str, info: dict[str, Any]) -> None:
        if event in _CONNECTED:
            sockets.add(info["return_value"].get_extra_info("socket"))

    # One of its own: nobody else's request may travel over a connection that is going to be shut.
    request.headers["connection"] = "close"
    request.extensions = {**request.extensions, "trace": trace}


@contextlib.contextmanager
def _quietly(budget: Budget) -> Iterator[None]:
    for handler in logging.getLogger(_LOGGER).handlers:
        handler.addFilter(_QUIET)
    session = get_session()
    hooks = session.event_hooks
    if _bound not in hooks["response"]:
        session.event_hooks = {"request": [*hooks["request"], _note], "response": [*hooks["response"], _bound]}
    token = _asking.set(budget)
    try:
        yield
    finally:
        _asking.reset(token)


def _is_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
