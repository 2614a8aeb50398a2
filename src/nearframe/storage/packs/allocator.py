"""Tuning of glibc's allocator for buffers of the size of a frame."""

from __future__ import annotations

import ctypes
from typing import Final

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

_KEEP_BYTES: Final = 64 << 20
_LARGEST_KEPT_BYTES: Final = 4 << 20


def tune_allocator() -> bool:
    """Have buffers of up to 4 MiB reused instead of mapped and unmapped on each request.

    By default glibc maps every buffer above 128 KiB anew: a page fault for each 4 KiB of every
    frame. The process keeps up to 64 MiB for it. Call it once, at the start of a process.

    Returns
    -------
    bool
        False where the C library has no such setting (musl, macOS); nothing has changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
    trimmed = mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    return bool(kept and trimmed)
