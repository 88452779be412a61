"""What the server says no with. The Hub's client decides by the code, not by the status, what went wrong."""

from __future__ import annotations

from casstore.digests import Digest


class RefusalError(Exception):
    """An answer that is an error: HTTP status, the Hub's error code, one sentence.

    ``commit`` is the revision's, where it is known: the client keeps it with the news that a file does not
    exist, so that it need not ask again. ``headers`` are those that only this error has.
    """

    def __init__(self, status: int, code: str, message: str, *, commit: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {"X-Repo-Commit": commit} if commit is not None else {}


def repo_not_found(repo: str) -> RefusalError:
    """No such repository, or not of that type."""
    return RefusalError(404, "RepoNotFound", f"the repository {repo!r} is not in this store")


def revision_not_found(repo: str, revision: str, damaged: int = 0) -> RefusalError:
    """The repository has no such branch, tag or commit, unless it is among its so many damaged versions."""
    message = f"{repo!r} has no revision {revision!r} in this store"
    if damaged:
        message += f", unless it is one of those whose records are damaged ({damaged})"
    return RefusalError(404, "RevisionNotFound", message)


def version_damaged(repo: str, version: Digest) -> RefusalError:
    """The record of the version that is asked for, or may be, cannot be read.

    Nothing outside the store has a version's record, so it is gone; after a 500 the Hub's client would try for half a
    minute more, and then speak of the connection.
    """
    message = f"the version {repo}@{version.hex[:12]} is damaged: its record cannot be read; ask for another revision"
    return RefusalError(410, "Damaged", message)


def entry_not_found(repo: str, commit: str, path: str) -> RefusalError:
    """The revision has no such file or folder."""
    return RefusalError(404, "EntryNotFound", f"{path!r} is not in {repo!r} at {commit}", commit=commit)


def read_only(*, takes_forms: bool) -> RefusalError:
    """The request would change something. Where forms are taken, a POST reads as well."""
    refusal = RefusalError(405, "MethodNotAllowed", "this server only reads")
    refusal.headers["Allow"] = "GET, HEAD, POST" if takes_forms else "GET, HEAD"
    return refusal


def no_such_page() -> RefusalError:
    """The address is none of the Hub's read API."""
    return RefusalError(404, "NotFound", "this server has no such endpoint")
