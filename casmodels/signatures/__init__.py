"""Signatures of versions in the format of OpenSSF model signing, with keys that lie on this machine.

`keys` reads them, `coverage` says which files of a version a signature is about, `bundles` reads what a signature says,
`signing` makes and checks one with the package `model_signing`. Nothing here needs a network, or a checkout.
"""

from __future__ import annotations

from typing import Final

SIGNATURE_FILE: Final = "model.sig"
"""What a signature is called beside the files that it is about."""

ATTACHED: Final = "signature"
"""The word under which it is attached to a version (`casstore.refs`)."""

KEPT: Final = "kept"
"""How results call a signature that is attached."""
