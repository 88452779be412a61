"""The Hugging Face Hub, or a server that speaks like it, perhaps with a mirror in front."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from casmodels.downloads import Download, RetryPolicy
from casmodels.sources.listing import HubListing, Resolved, UpstreamFile

DEFAULT_ENDPOINT: Final = "https://huggingface.co"


class HubSource:
    """Repos of one Hub.

    ``endpoint`` None is the public Hub; one that is given beats ``mirror``. The token goes to the endpoint only.
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
    ) -> None:
        raise NotImplementedError

    def resolve(self, repo: str, revision: str = "main") -> Resolved:
        """The commit that a revision means now: one request.

        Raises OfflineError, NetworkError, MissingUpstreamError, AccessError, UpstreamError, InvalidInputError.
        """
        raise NotImplementedError

    def listing(self, resolved: Resolved) -> HubListing:
        """Every file of a commit with its size and digest, and what the model card says. Raises as `resolve`."""
        raise NotImplementedError

    def download(
        self, listing: HubListing, file: UpstreamFile, still_needed: Callable[[], bool] | None = None
    ) -> Download:
        """What to ask of a `Downloader` for one file: from the mirror first where there is one, then from the Hub."""
        raise NotImplementedError

    def downloads(self, listing: HubListing, files: Iterable[UpstreamFile]) -> list[Download]:
        """`download` for several files."""
        return [self.download(listing, file) for file in files]
