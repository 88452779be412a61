"""What operations give back. The field names are the JSON fields of the command line's contract.

Each is imported when it is first asked for: a dataclass takes most of a millisecond to make, and a command needs few.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casmodels.results.checkouts import CheckoutResult
    from casmodels.results.checkpoints import CheckpointResult
    from casmodels.results.checks import Damage, RepairResult, VerifyResult
    from casmodels.results.diffs import Change, DiffResult, FileDiff, SideResult, TensorDiff
    from casmodels.results.entries import ContentsResult, EntryResult
    from casmodels.results.models import ModelResult
    from casmodels.results.pulls import ErrorResult, LeftOut, PullResult, PullStatus
    from casmodels.results.quantised import Quantised, QuantiseResult
    from casmodels.results.signatures import SignatureResult, SignResult, WrittenSignature
    from casmodels.results.space import CleanupResult, CompactResult, GcResult, StatsResult
    from casmodels.results.take_ins import TakeInResult, TakeInStatus
    from casmodels.results.versions import RemoveResult, VersionResult
    from casmodels.results.views import ViewResult

__all__ = [
    "Change",
    "CheckoutResult",
    "CheckpointResult",
    "CleanupResult",
    "CompactResult",
    "ContentsResult",
    "Damage",
    "DiffResult",
    "EntryResult",
    "ErrorResult",
    "FileDiff",
    "GcResult",
    "LeftOut",
    "ModelResult",
    "PullResult",
    "PullStatus",
    "QuantiseResult",
    "Quantised",
    "RemoveResult",
    "RepairResult",
    "SideResult",
    "SignResult",
    "SignatureResult",
    "StatsResult",
    "TakeInResult",
    "TakeInStatus",
    "TensorDiff",
    "VerifyResult",
    "VersionResult",
    "ViewResult",
    "WrittenSignature",
]

_HOMES = {
    "Change": "diffs",
    "CheckoutResult": "checkouts",
    "CheckpointResult": "checkpoints",
    "CleanupResult": "space",
    "Damage": "checks",
    "DiffResult": "diffs",
    "EntryResult": "entries",
    "ErrorResult": "pulls",
    "CompactResult": "space",
    "ContentsResult": "entries",
    "FileDiff": "diffs",
    "GcResult": "space",
    "LeftOut": "pulls",
    "ModelResult": "models",
    "PullResult": "pulls",
    "PullStatus": "pulls",
    "QuantiseResult": "quantised",
    "Quantised": "quantised",
    "RemoveResult": "versions",
    "RepairResult": "checks",
    "SideResult": "diffs",
    "SignResult": "signatures",
    "SignatureResult": "signatures",
    "StatsResult": "space",
    "TakeInResult": "take_ins",
    "TakeInStatus": "take_ins",
    "TensorDiff": "diffs",
    "VerifyResult": "checks",
    "VersionResult": "versions",
    "ViewResult": "views",
    "WrittenSignature": "signatures",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
