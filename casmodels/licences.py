"""What kind of licence a model has, by its SPDX id or the Hub's word for it.

No advice: a line that says that there is something to read. What is not in the table counts as not known.
"""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final


class LicenceKind(StrEnum):
    """What a licence asks for, as a sentence about it goes on; the mildest first."""

    PERMISSIVE = "lets everybody use the model"
    COPYLEFT = "asks that what is made of the model is passed on under the same terms"
    NETWORK_COPYLEFT = "asks for the source of what offers the model over a network, too"
    RESTRICTED_USE = "forbids some uses of the model"
    COMMUNITY = "has terms of its maker's own"
    NON_COMMERCIAL = "forbids commercial use"
    UNKNOWN = "is not known here to be a permissive one"


_PATTERNS: Final[dict[LicenceKind, tuple[str, ...]]] = {
    LicenceKind.PERMISSIVE: (
        *("0bsd", "afl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-[234]-clause*", "bsl-1.0", "cc0-1.0"),
        *("cc-by-[1234].[05]", "cdla-permissive-[12].0", "ecl-2.0", "etalab-2.0", "isc", "mit", "mit-0", "ms-pl"),
        *(
            "ncsa",
            "odc-by",
            "odc-by-1.0",
            "openmdw-1.*",
            "pddl",
            "pddl-1.0",
            "postgresql",
            "unlicense",
            "wtfpl",
            "zlib",
        ),
    ),
    LicenceKind.NETWORK_COPYLEFT: ("agpl*", "osl-*", "sspl-*"),
    LicenceKind.COPYLEFT: (
        *("gpl*", "lgpl", "lgpl-[23].*", "mpl-*", "epl-*", "eupl-*", "cc-by-sa-*", "cdla-sharing-1.0", "gfdl*"),
        *("lppl-*", "odbl*", "ofl-1.1"),
    ),
    LicenceKind.RESTRICTED_USE: ("*openrail*", "*rail-1.0", "cc-by-nd-*"),
    LicenceKind.COMMUNITY: ("llama*", "gemma*", "grok*", "deepfloyd*", "qwen*", "lgpl-lr", "apple-ascl"),
    LicenceKind.NON_COMMERCIAL: (
        *("cc-by-nc*", "*non-commercial*", "*noncommercial*", "*-nc-*", "coqui-public-model-license"),
        *("h-research", "intel-research", "apple-amlr"),
    ),
}
_LONGEST_SHOWN: Final = 80
_SUFFIX: Final = re.compile(r"-(only|or-later)\Z")


def kind_of(licence: str) -> LicenceKind:
    """The kind of a licence; of several with commas between, as the Hub has them, the strictest."""
    kinds = {_kind_of_one(_SUFFIX.sub("", word.strip().lower())) for word in licence.split(",")}
    return next(kind for kind in reversed(LicenceKind) if kind in kinds)


def licence_warning(licence: str | None) -> str | None:
    """One sentence about a model whose licence is not permissive, or not known; None about the others."""
    if licence is None:
        return "its card names no licence: find out whether you may use it"
    kind = kind_of(licence)
    if kind is LicenceKind.PERMISSIVE:
        return None
    return f"its licence, {licence[:_LONGEST_SHOWN]}, {kind.value}: read it before you use the model"


def _kind_of_one(word: str) -> LicenceKind:
    kinds = [kind for kind, patterns in _PATTERNS.items() if any(fnmatchcase(word, each) for each in patterns)]
    return kinds[-1] if kinds else LicenceKind.UNKNOWN
