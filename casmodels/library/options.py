"""What a pull may be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to pull. ``None`` means: what the configuration says.

    ``include`` and ``exclude`` are glob patterns over upstream paths; ``all_files`` takes every weight
    format; ``name`` is the name to keep the model under; ``checksum`` is ``algorithm:hex`` of the bytes as
    downloaded (one URL or file only, or with ``files`` the one file of weights among them); ``files`` are
    exactly the upstream paths to take, each of which must be there; ``model_type`` is kept with the version;
    ``listed`` says that a download list gives the name, which then may be one of the registry's, too;
    ``all_models`` takes the registered defaults; ``force`` fetches again what the store has; ``dry_run`` says
    what would be done; ``offline`` forbids the network, and takes what is here under the name, wherever it
    came from; ``low_priority`` runs the work at the lowest CPU and I/O priority; ``view`` makes the snapshot
    in the store's own view besides.
    """

    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    all_files: bool = False
    name: str | None = None
    checksum: str | None = None
    files: tuple[str, ...] = ()
    model_type: str | None = None
    listed: bool = False
    all_models: bool = False
    force: bool = False
    workers: int | None = None
    dry_run: bool = False
    offline: bool = False
    low_priority: bool | None = None
    view: bool = False
