"""What a server's refusal means, for a repo's info and for a file alike.

The Hub says more than the status does in ``X-Error-Code`` and ``X-Error-Message``; a missing repo, for one,
is 401 to whoever has no token.
"""

from __future__ import annotations

from collections.abc import Mapping

from casmodels.errors import AccessError, MissingRevisionError, MissingUpstreamError, UpstreamError
from casstore.errors import StoreError

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def refusal(
    what: str, status: int, headers: Mapping[str, str], *, with_token: bool, terms_page: str | None = None
) -> StoreError:
    """The error for a status that will not pass by itself. ``headers`` must not care about case."""
    code = headers.get("X-Error-Code", "")
    message = headers.get("X-Error-Message", "")
    if code == "GatedRepo":
        return _gated(what, with_token=with_token, terms_page=terms_page)
    if "is disabled" in message:
        return AccessError(f"{what} has been disabled upstream", remedy="choose another model")
    if code == "RevisionNotFound":
        return MissingRevisionError(f"{what}: there is no such revision", remedy="check its spelling")
    if code == "EntryNotFound":
        return _vanished(what)
    if code == "RepoNotFound":
        return _missing(what, with_token=with_token)
    if status == 401:
        if with_token:
            return AccessError(f"{what}: the token was not accepted", remedy=f"{_LOG_IN} to one that is valid")
        return _missing(what, with_token=False)
    if status == 403:
        remedy = "the token lacks the right to read it" if with_token else _LOG_IN
        return AccessError(f"{what}: the server refuses access", remedy=remedy)
    if status in (404, 410):
        return _vanished(what)
    return UpstreamError(f"{what}: the server answered {status}{f' ({message})' if message else ''}")


def _gated(what: str, *, with_token: bool, terms_page: str | None) -> AccessError:
    where = f" at {terms_page}" if terms_page else ""
    then = "with the account of your token" if with_token else f"and then {_LOG_IN}"
    return AccessError(f"{what} is gated: its owner has to let you in first", remedy=f"ask for access{where}, {then}")


def _missing(what: str, *, with_token: bool) -> MissingUpstreamError:
    private = "that the token may see it" if with_token else f"for a private one {_LOG_IN}"
    return MissingUpstreamError(
        f"{what} does not exist upstream, or is private", remedy=f"check the spelling; {private}"
    )


def _vanished(what: str) -> MissingUpstreamError:
    return MissingUpstreamError(f"{what} is not there (any more)", remedy="check the name, then run again")
