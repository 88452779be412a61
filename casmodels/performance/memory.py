"""The memory that a process holds."""

from __future__ import annotations


def resident_bytes(process_id: int) -> int | None:
    """What a process has in memory, pages that it shares with others included; None when there is none of that id."""
    import psutil

    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.Error:
        return None
