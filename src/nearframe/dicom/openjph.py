"""Decode HTJ2K, and hear of it when that fails.

imagecodecs 2026.3.6 copies samples out of OpenJPH in a function that cannot raise: when a
code block is damaged, Python reports the exception as unraisable and the caller gets a
picture whose rest is black. `decode_htj2k` listens for that report and raises.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import imagecodecs

from nearframe.dicom.native import Samples

if TYPE_CHECKING:
    from collections.abc import Callable

_MUTE_FUNCTION = "_copy_from_codestream"


class DecodingFailed(RuntimeError):
    """OpenJPH gave up on a code block."""


class _Listener:
    """Notes, thread by thread, that the mute function failed; passes every other report on."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._next: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    def listen(self) -> None:
        """Forget what was heard in this thread, and make sure to be asked."""
        self._of_thread.failed = False
        if sys.unraisablehook != self.hear:
            self._next, sys.unraisablehook = sys.unraisablehook, self.hear

    def hear(self, report: sys.UnraisableHookArgs) -> None:
        """Take a report: Python calls this in the thread that failed, before the codec returns."""
        if _MUTE_FUNCTION in str(report.object):
            self._of_thread.failed = True
        else:
            self._next(report)

    @property
    def heard(self) -> bool:
        return bool(self._of_thread.failed)


_listener = _Listener()


def decode_htj2k(codestream: bytes, *, skipped_resolutions: int) -> Samples:
    """Return the samples of an HTJ2K codestream, interleaved.

    Raises
    ------
    RuntimeError
        If it cannot be decoded, wholly or in part.
    """
    _listener.listen()
    samples: Samples = imagecodecs.htj2k_decode(codestream, planar=False, skipres=skipped_resolutions)
    if _listener.heard:
        raise DecodingFailed("a code block cannot be decoded")
    return samples
