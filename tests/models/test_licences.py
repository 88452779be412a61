from __future__ import annotations

import pytest

from casmodels.families import FAMILIES
from casmodels.licences import LicenceKind, kind_of, licence_warning
from casmodels.registry import DEFAULTS

KINDS = {
    LicenceKind.PERMISSIVE: "apache-2.0 MIT bsd bsd-2-clause BSD-3-Clause bsd-3-clause-clear cc0-1.0 cc-by-4.0 "
    "cc-by-2.5 isc unlicense wtfpl zlib bsl-1.0 afl-3.0 artistic-2.0 ecl-2.0 etalab-2.0 cdla-permissive-2.0 "
    "openmdw-1.0 pddl odc-by",
    LicenceKind.COPYLEFT: "gpl gpl-3.0 GPL-3.0-only GPL-2.0-or-later lgpl lgpl-2.1 lgpl-3.0 mpl-2.0 epl-2.0 eupl-1.2 "
    "cc-by-sa-4.0 odbl gfdl cdla-sharing-1.0 lppl-1.3c ofl-1.1",
    LicenceKind.NETWORK_COPYLEFT: "agpl-3.0 AGPL-3.0-only AGPL-3.0-or-later osl-3.0",
    LicenceKind.RESTRICTED_USE: "openrail openrail++ creativeml-openrail-m bigscience-openrail-m bigcode-openrail-m "
    "bigscience-bloom-rail-1.0 cc-by-nd-4.0",
    LicenceKind.COMMUNITY: "llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma grok2-community deepfloyd-if-license "
    "lgpl-lr apple-ascl",
    LicenceKind.NON_COMMERCIAL: "cc-by-nc-4.0 cc-by-nc-sa-3.0 cc-by-nc-nd-4.0 fair-noncommercial-research-license "
    "intel-research h-research apple-amlr coqui-public-model-license",
    LicenceKind.UNKNOWN: "other unknown cc c-uda busl-1.1 my-own",
}


@pytest.mark.parametrize(("word", "kind"), [(word, kind) for kind, words in KINDS.items() for word in words.split()])
def test_the_kind_of_a_licence(word: str, kind: LicenceKind) -> None:
    assert kind_of(word) is kind
    warning = licence_warning(word)
    assert (warning is None) == (kind is LicenceKind.PERMISSIVE)
    assert warning is None or word in warning


def test_of_several_the_strictest_counts() -> None:
    assert kind_of("mit, apache-2.0") is LicenceKind.PERMISSIVE
    assert kind_of("mit, cc-by-nc-4.0, gpl-3.0") is LicenceKind.NON_COMMERCIAL
    assert kind_of("mit, whatever") is LicenceKind.UNKNOWN


@pytest.mark.parametrize("licence", [None, "", " ", ","])
def test_none_is_said_to_be_none_or_unknown(licence: str | None) -> None:
    assert licence_warning(licence) is not None


def test_every_spec_has_a_licence_that_is_known_or_none() -> None:
    known = {spec.id: kind_of(spec.licence) for spec in (*DEFAULTS, *FAMILIES) if spec.licence is not None}
    assert LicenceKind.UNKNOWN not in known.values()
    assert all(known[spec.id] is LicenceKind.PERMISSIVE for spec in DEFAULTS)
    assert known["yolov8n"] is LicenceKind.NETWORK_COPYLEFT
