"""Which files of a repo a pull takes when the user does not say: one weight format and all that goes with it."""

from __future__ import annotations

from collections.abc import Sequence

from casmodels.sources.listing import Selection, UpstreamFile


def select_files(
    files: Sequence[UpstreamFile],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    *,
    all_files: bool = False,
) -> Selection:
    """Choose. ``include`` and ``exclude`` are the Hub's patterns (fnmatch over the whole path; ``dir/`` means
    ``dir/*``).

    With ``include`` exactly what matches is taken; ``exclude`` takes away in every case.
    """
    raise NotImplementedError
