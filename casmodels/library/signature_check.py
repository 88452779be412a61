"""Whether a signature is one of a stored version: its digests are those that files are stored under."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from casmodels.errors import SignatureError
from casmodels.signatures import signing
from casmodels.signatures.bundles import SINGLE_FILE, Bundle, Claim
from casmodels.signatures.coverage import Listing
from casmodels.signatures.keys import Key
from casstore.catalog import Reader
from casstore.digests import SHA256
from casstore.trees import Entry

_SIGN_ANEW: Final = "have the version signed as it is"


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """Checks one signature of a version; ``what`` names it in errors."""

    reader: Reader
    listing: Listing
    what: str

    def covered(self, data: bytes, key: Key) -> Collection[str]:
        """The paths that the signature is about. Raises SignatureError, DamagedError, MissingExtraError."""
        bundle = Bundle.read(data, self.what)
        covered: dict[str, bytes] = {}

        def digests() -> dict[str, bytes]:
            covered.update(self._digests(bundle.claim))
            return covered

        signing.check(bundle, key, digests, self.what)
        return covered

    def _digests(self, claim: Claim) -> Iterator[tuple[str, bytes]]:
        """The files that the version has of what is claimed. Only asked for when the key has signed the claim."""
        if self.listing.has_links and not claim.allows_links:
            raise SignatureError(
                f"{self.what} is of a model without links, and the version has some", remedy=_SIGN_ANEW
            )
        if (dead := self.listing.dead_link) is not None:
            raise SignatureError(
                f"{self.what} cannot be of a version whose link {dead!r} leads nowhere",
                remedy="save it without the link",
            )
        if claim.is_of_a_single_file and len(self.listing.files) == len(self.listing.tree) == 1:
            entries = {SINGLE_FILE: entry for entry in self.listing.files.values()}  # noqa: B035 (there is one)
        else:
            entries = self.listing.covered(claim.ignored, claim.digests)
        if not entries:
            raise SignatureError(f"{self.what} leaves out every file of the version", remedy=_SIGN_ANEW)
        return ((path, self._digest(entry, claim.algorithm)) for path, entry in entries.items())

    def _digest(self, entry: Entry, algorithm: str) -> bytes:
        assert entry.blob is not None
        if algorithm == SHA256:
            return entry.blob.value
        hasher = blake3()
        for piece in self.reader.open_blob(entry.blob).stream():
            hasher.update(piece)
        return hasher.digest()
