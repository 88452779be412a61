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
    from casmodels.results.entries import EntryResult
    from casmodels.results.models import ModelResult
    from casmodels.results.pulls import ErrorResult, LeftOut, PullResult, PullStatus
    from casmodels.results.space import CleanupResult, CompactResult, GcResult, StatsResult
    from casmodels.results.versions import RemoveResult, VersionResult
    from casmodels.results.views import ViewResult

__all__ = [
    "CheckoutResult",
    "CheckpointResult",
    "CleanupResult",
    "CompactResult",
    "Damage",
    "EntryResult",
    "ErrorResult",
    "GcResult",
    "LeftOut",
    "ModelResult",
    "PullResult",
    "PullStatus",
    "RemoveResult",
    "RepairResult",
    "StatsResult",
    "VerifyResult",
    "VersionResult",
    "ViewResult",
]

_HOMES = {
    "CheckoutResult": "checkouts",
    "CheckpointResult": "checkpoints",
    "CleanupResult": "space",
    "Damage": "checks",
    "EntryResult": "entries",
    "ErrorResult": "pulls",
    "CompactResult": "space",
    "GcResult": "space",
    "LeftOut": "pulls",
    "ModelResult": "models",
    "PullResult": "pulls",
    "PullStatus": "pulls",
    "RemoveResult": "versions",
    "RepairResult": "checks",
    "StatsResult": "space",
    "VerifyResult": "checks",
    "VersionResult": "versions",
    "ViewResult": "views",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
