"""The Hugging Face Hub, or a server that speaks like it, perhaps with a mirror in front."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from casmodels.config import HUB_ENDPOINT
from casmodels.downloads import Credentials, Download, Location, RetryPolicy
from casmodels.errors import (
    AccessError,
    MissingRevisionError,
    MissingUpstreamError,
    NetworkError,
    OfflineError,
    UpstreamError,
)
from casmodels.sources.listing import HubListing, Resolved, UpstreamFile, check_files
from casmodels.specs import is_commit
from casstore.errors import InvalidInputError
from casstore.trees import path_bytes

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

    from casmodels.cancellation import Cancellation
    from casmodels.sources.hub_client import HubClient

HUB: Final = "hub"
MIRROR: Final = "mirror"

_MOST_SIBLINGS: Final = 50_000
"""From this many files on the Hub's info may not name them all; its tree does."""
_BRIEF_SECONDS: Final = 5.0
"""How long to wait for the Hub where a mirror has answered already: it may be out of reach from here for
good.
"""


class HubSource:
    """Repos of one Hub.

    ``endpoint`` None is the public Hub; one that is given beats ``mirror``. The token goes to the endpoint
    only. A mirror is asked first; what it says of a commit's bytes counts only where the Hub cannot be asked.
    ``wait(seconds)`` sleeps between tries, and says whether all is to stop; ``cancellation`` does so, and ends a
    question that hangs.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        mirror: str | None = None,
        offline: bool = False,
        retries: RetryPolicy | None = None,
        timeout_seconds: float = 20.0,
        wait: Callable[[float], bool] | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        self.endpoint = _checked_url(endpoint or HUB_ENDPOINT)
        self.mirror = _checked_url(mirror) if mirror and not endpoint else None
        self._token = token or None
        self._offline = offline
        self._retries = retries or RetryPolicy()
        self._timeout_seconds = timeout_seconds
        self._cancellation = cancellation
        self._wait = wait or (cancellation.wait if cancellation is not None else threading.Event().wait)

    def resolve(self, repo: str, revision: str = "main") -> Resolved:
        """The commit that a revision means now: one request.

        Raises OfflineError, NetworkError, MissingUpstreamError, AccessError, UpstreamError,
        InvalidInputError.
        """
        if self.mirror is None:
            return self._resolve_at(HUB, repo, revision)
        try:
            return self._resolve_at(MIRROR, repo, revision)
        except (UpstreamError, MissingUpstreamError) as at_mirror:
            try:
                return self._resolve_at(HUB, repo, revision)
            except NetworkError:
                raise at_mirror from None

    def listing(self, resolved: Resolved) -> HubListing:
        """Every file of a commit with its size and digest, and what the model card says. Raises as `resolve`.

        Where a mirror named a commit that the Hub does not know, it is the Hub's own commit that is listed.
        """
        if resolved.answered_by == HUB:
            return self._listing_at(HUB, resolved)
        try:
            return self._listing_at(HUB, resolved, brief=True)
        except MissingRevisionError:
            return self._listing_at(HUB, self._resolve_at(HUB, resolved.repo, resolved.revision))
        except (AccessError, OfflineError):
            raise
        except (UpstreamError, MissingUpstreamError) as at_hub:
            listing = self._listing_at(MIRROR, resolved)
            warning = f"only the mirror {self.mirror} vouches for {resolved.repo}: {at_hub.message}"
            return replace(listing, warnings=(*listing.warnings, warning))

    def download(
        self, listing: HubListing, file: UpstreamFile, still_needed: Callable[[], bool] | None = None
    ) -> Download:
        """What to ask of a `Downloader` for one file: from the mirror first where there is one, then from the
        Hub.
        """
        path = f"/{quote(listing.repo)}/resolve/{listing.commit}/{quote(path_bytes(file.path))}"
        credentials = Credentials(self.endpoint, self._token) if self._token is not None else None
        at_hub = Location(self.endpoint + path, credentials, terms_page=f"{self.endpoint}/{listing.repo}")
        at_mirror = (Location(self.mirror + path),) if self.mirror is not None else ()
        shown = file.path if file.path.isprintable() else repr(file.path)[1:-1]
        return Download(
            name=f"{listing.repo}/{shown}",
            key=f"{file.digest.algorithm}-{file.digest.hex}",
            locations=(*at_mirror, at_hub),
            size_bytes=file.size_bytes,
            expected=file.digest,
            still_needed=still_needed,
        )

    def downloads(self, listing: HubListing, files: Iterable[UpstreamFile]) -> list[Download]:
        """`download` for several files."""
        return [self.download(listing, file) for file in files]

    def _resolve_at(self, where: str, repo: str, revision: str) -> Resolved:
        info = self._client(where, repo).info(repo, revision, with_files=False)
        return Resolved(repo, revision, _checked_commit(repo, info.sha), where)

    def _listing_at(self, where: str, resolved: Resolved, *, brief: bool = False) -> HubListing:
        repo, commit = resolved.repo, resolved.commit
        client = self._client(where, repo, brief=brief)
        info = client.info(repo, commit, with_files=True)
        siblings = info.siblings or []
        if len(siblings) >= _MOST_SIBLINGS or any(sibling.blob_id is None for sibling in siblings):
            entries = client.tree(repo, commit)
        else:
            entries = [
                {
                    "path": sibling.rfilename,
                    "size": sibling.size,
                    "blob_id": sibling.blob_id,
                    "lfs_sha256": sibling.lfs.sha256 if sibling.lfs is not None else None,
                }
                for sibling in siblings
            ]
        files, warnings = check_files(repo, entries)
        card = _card_of(info)
        tags = _texts(info.tags)
        return HubListing(
            repo=repo,
            commit=commit,
            files=files,
            vouched_by=where,
            gated=bool(info.gated),
            licence=_licence(card, tags),
            base_models=_texts(card.get("base_model")) or _tagged(tags, "base_model"),
            tags=tags,
            library=info.library_name if isinstance(info.library_name, str) else None,
            pipeline_tag=info.pipeline_tag if isinstance(info.pipeline_tag, str) else None,
            warnings=warnings,
        )

    def _client(self, where: str, repo: str, *, brief: bool = False) -> HubClient:
        endpoint = self.mirror if where == MIRROR and self.mirror is not None else self.endpoint
        if self._offline:
            raise OfflineError(
                f"{repo} is needed from {urlsplit(endpoint).hostname}, but this is offline",
                remedy="run again without --offline and HF_HUB_OFFLINE",
            )
        from casmodels.sources.hub_client import HubClient

        return HubClient(
            endpoint,
            self._token if where == HUB else None,
            timeout_seconds=min(self._timeout_seconds, _BRIEF_SECONDS) if brief else self._timeout_seconds,
            retries=replace(self._retries, attempts=2, connect_attempts=1) if brief else self._retries,
            wait=self._wait,
            cancellation=self._cancellation,
        )


def _checked_url(url: str) -> str:
    """An endpoint without its last slash. Raises InvalidInputError for what is no http(s) URL."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInputError(
            f"{url!r} is not the address of a hub", remedy="give one such as https://huggingface.co"
        )
    return url.rstrip("/")


def _checked_commit(repo: str, commit: object) -> str:
    if not isinstance(commit, str) or not is_commit(commit):
        raise UpstreamError(f"{repo}: the server names the commit {commit!r}, which is none")
    return commit


def _card_of(info: ModelInfo) -> dict[str, Any]:
    card: Any = info.card_data
    if card is None or isinstance(card, dict):
        return card or {}
    # Not by its methods: a card may have fields of their names. A server may send a number for a card, too.
    return getattr(card, "__dict__", {})


def _licence(card: dict[str, Any], tags: tuple[str, ...]) -> str | None:
    """The licence's id; for ``other`` its name."""
    given = card.get("license")
    if given == "other" and isinstance(card.get("license_name"), str):
        given = card["license_name"]
    return ", ".join(_texts(given) or _tagged(tags, "license")) or None


def _tagged(tags: tuple[str, ...], key: str) -> tuple[str, ...]:
    """The values of tags such as ``license:mit``; what is qualified further (``base_model:finetune:…``) says
    it again.
    """
    values = (tag.removeprefix(f"{key}:") for tag in tags if tag.startswith(f"{key}:"))
    return tuple(value for value in values if ":" not in value)


def _texts(value: object) -> tuple[str, ...]:
    """A text or a list of texts, from a server that may send anything."""
    if isinstance(value, str):
        return (value,)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list | tuple) else ()
