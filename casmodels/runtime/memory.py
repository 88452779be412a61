"""How the process treats memory: it works through buffers of a megabyte or two, thousands of them, of a few sizes.

By its defaults glibc gives each back to the kernel when it is freed and is given zeroed pages for the next, and
OpenBLAS, which nothing here uses, keeps threads spinning. ADR 007 has the figures.
"""

from __future__ import annotations

import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
_KEPT_BYTES = 64 << 20
_LARGEST_KEPT_BYTES = 32 << 20
"""The largest value that glibc takes on 64-bit machines."""


def tune_for_large_buffers() -> None:
    """Keep freed memory for the next buffer, and NumPy on one thread. For programs of our own, before NumPy is loaded.

    Changes the whole process, so a library must not call it; does nothing where there is no glibc.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)


def give_back_freed() -> None:
    """Give memory that was freed in pieces back to the system; does nothing where there is no glibc."""
    if sys.platform != "linux":
        return
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
