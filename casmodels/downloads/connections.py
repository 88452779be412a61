"""One thread's HTTP connections: redirects followed by hand, so that a token never travels with them.

`requests` would send what `~/.netrc` knows to any host, and again after a redirect; an explicit ``auth``
stops that, while the proxies of the environment still count.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import ClassVar, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from casmodels.downloads.download import Download, Location
from casmodels.downloads.refusals import refusal
from casmodels.downloads.retries import TransientError, asked_seconds, is_transient
from casmodels.downloads.sockets import Sockets
from casmodels.errors import NetworkError, UpstreamError
from casmodels.release import user_agent
from casstore.errors import InvalidInputError

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 10
_BLOCK_BYTES: Final = 1 << 20
_SHORT_BYTES: Final = 1 << 16
_CONTENT_LENGTH: Final = re.compile(r"[0-9]{1,18}\Z")
"""No file has more digits to its size, and of thousands of them Python makes no number."""
_CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)\Z")


class Stream:
    """A response's body. ``start`` is the position of its first byte, ``total_bytes`` the whole file's size
    if known.

    ``is_complete`` says that the server has exactly what is here already; ``is_misplaced`` that it sent, or
    has, another range than was asked for.
    """

    def __init__(self, response: requests.Response, offset: int, stall_seconds: float) -> None:
        self._response = response
        self._stall_seconds = stall_seconds
        self.host = urlsplit(response.url).hostname or ""
        self.headers: Mapping[str, str] = response.headers
        status, (first, total) = response.status_code, _content_range(response)
        self.start = 0 if status == 200 else offset
        self.total_bytes = _content_length(response) if status == 200 else total
        self.is_complete = status == 416 and total == offset
        self.is_misplaced = not self.is_complete and status != 200 and first != offset

    @property
    def strong_etag(self) -> str | None:
        """The ETag, if it may stand in If-Range."""
        etag = self.headers.get("ETag", "")
        return etag if etag.startswith('"') and etag.endswith('"') and len(etag) > 2 else None

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def is_encoded(self) -> bool:
        """Whether the server compressed the body although it was asked not to."""
        return self.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")

    def read(self) -> bytes:
        """The next bytes as they come, empty at the end. Raises TransientError when the stream breaks or
        stalls.
        """
        raw = self._response.raw
        try:
            data = raw.read1(_BLOCK_BYTES, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise TransientError(f"{self.host} sent nothing for {self._stall_seconds:g} s") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise TransientError(f"the connection to {self.host} broke") from error
        return data or b""

    def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        self._response.close()


class Connections:
    """A session of one thread."""

    def __init__(self, connect_seconds: float, stall_seconds: float) -> None:
        self._timeouts = (connect_seconds, stall_seconds)
        self._session = _Session()
        self._sockets = Sockets()
        adapter = _Adapter(self._sockets)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._session.headers.clear()
        self._session.headers["User-Agent"] = user_agent()
        self._session.headers["Accept"] = "*/*"
        self._session.headers["Accept-Encoding"] = "identity"

    def open(self, download: Download, location: Location, offset: int, validator: str | None) -> Stream:
        """Ask for the bytes from ``offset`` on; with a ``validator`` only if the file has still that ETag.

        The stream may start at 0 all the same. Raises TransientError, or what the refusal means.
        """
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator is not None:
                headers["If-Range"] = validator
        return Stream(self._follow(download, location, headers), offset, self._timeouts[1])

    def abort(self) -> None:
        """Wake whoever waits for an answer or its bytes in another thread; they must not be trusted any more."""
        self._sockets.shut()

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def _follow(self, download: Download, location: Location, headers: dict[str, str]) -> requests.Response:
        url = location.url
        for hop in range(_MOST_REDIRECTS + 1):
            credentials = location.credentials
            with_token = credentials is not None and credentials.allow(url)
            response = self._get(download, url, _authorise(location, url, first=hop == 0), headers)
            if response.status_code in _REDIRECTS and "Location" in response.headers:
                _finish(response)
                url = _next_url(download, url, response.headers["Location"])
                continue
            if response.status_code in (200, 206, 416):
                return response
            _finish(response)
            if is_transient(response.status_code):
                reason = f"{urlsplit(url).hostname} answered {response.status_code}"
                raise TransientError(reason, asked_seconds=asked_seconds(response.headers))
            raise refusal(
                download.name,
                response.status_code,
                response.headers,
                with_token=with_token,
                terms_page=location.terms_page,
            )
        raise UpstreamError(f"{download.name}: {urlsplit(location.url).hostname} redirects in circles")

    def _get(
        self,
        download: Download,
        url: str,
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest],
        headers: dict[str, str],
    ) -> requests.Response:
        host = urlsplit(url).hostname
        try:
            return self._session.get(
                url,
                headers=headers,
                auth=auth,
                stream=True,
                allow_redirects=False,
                timeout=self._timeouts,
            )
        except requests.exceptions.SSLError as error:
            if _caused_by(error, ssl.SSLCertVerificationError):
                raise NetworkError(
                    f"{download.name}: the certificate of {host} is not valid",
                    remedy="check the clock, the proxy, and REQUESTS_CA_BUNDLE",
                ) from error
            raise TransientError(f"no TLS connection to {host}", connected=False) from error
        except requests.exceptions.ProxyError as error:
            raise TransientError(f"the proxy for {host} does not answer", connected=False) from error
        except requests.exceptions.ConnectTimeout as error:
            raise TransientError(f"{host} did not answer within {self._timeouts[0]:g} s", connected=False) from error
        except requests.exceptions.ReadTimeout as error:
            raise TransientError(f"{host} sent nothing for {self._timeouts[1]:g} s") from error
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _connection_failure(error, host) from error
        except (requests.exceptions.RequestException, UnicodeError) as error:
            raise InvalidInputError(f"{download.name}: the URL cannot be used") from error


class _Adapter(HTTPAdapter):
    """Keeps one connection per host, and notes each connection's socket."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        super().__init__(pool_connections=4, pool_maxsize=1, max_retries=0)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> urllib3.connectionpool.ConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        if isinstance(pool, urllib3.HTTPConnectionPool) and not issubclass(pool.ConnectionCls, _Noted):
            pool.ConnectionCls = type("Noted", (_Noted, pool.ConnectionCls), {"sockets": self._sockets})
        return pool


class _Noted:
    """What is put before a class of connections, so that each of them notes its socket."""

    sockets: ClassVar[Sockets]
    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if self.sock is not None:
            self.sockets.add(self.sock)


class _Session(requests.Session):
    """A session that leaves redirects alone: by itself it would prepare the next request, netrc and all."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 (requests' signature)
        return None


def _authorise(
    location: Location, url: str, *, first: bool
) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """What to put on one request: the token if the URL may see it, else what the first URL itself carries,
    else nothing.
    """
    user, password = get_auth_from_url(location.url) if first else ("", "")
    credentials = location.credentials

    def authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if credentials is not None and credentials.allow(url):
            request.headers["Authorization"] = f"Bearer {credentials.token}"
        elif user or password:
            HTTPBasicAuth(user, password)(request)
        return request

    return authorise


def _finish(response: requests.Response) -> None:
    """Be done with a response: one whose short body was read gives its connection back for the next request."""
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, ValueError):
        response.raw.read(_SHORT_BYTES, decode_content=False)
    response.close()


def _next_url(download: Download, url: str, target: str) -> str:
    try:
        # A header is text in Latin-1; what servers mean by it is UTF-8.
        following = urlsplit(urljoin(url, target.encode("latin-1", "replace").decode("utf-8", "replace")))
        is_usable = following.scheme in ("http", "https") and following.port != 0
    except ValueError:
        is_usable = False
    is_downgrade = is_usable and (urlsplit(url).scheme, following.scheme) == ("https", "http")
    if not is_usable or is_downgrade:
        raise UpstreamError(f"{download.name}: {urlsplit(url).hostname} redirects to an unsafe place")
    return following.geturl()


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if _CONTENT_LENGTH.match(length) else None


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """The first byte's position and the whole file's size, each None where the server does not say."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return int(match[1]) if match[1] else None, int(match[2]) if match[2] != "*" else None


def _connection_failure(error: Exception, host: str | None) -> TransientError:
    if _caused_by(error, urllib3.exceptions.NameResolutionError):
        return TransientError(f"the name {host} cannot be resolved", connected=False)
    if _caused_by(error, urllib3.exceptions.NewConnectionError):
        return TransientError(f"no connection to {host}", connected=False)
    return TransientError(f"the connection to {host} broke")


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error of that kind lies beneath this one, in the ways in which requests and urllib3 wrap
    them.
    """
    seen: set[int] = set()
    ahead: list[object] = [error]
    while ahead:
        one = ahead.pop()
        if isinstance(one, kind):
            return True
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            ahead += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return False
