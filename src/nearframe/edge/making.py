"""One form of a frame made from the other that is here: native from its rendition, and back.

Both hold the same samples, so either is as good as both. What is made has the digest that
was asked for, or it counts as refused and the frame is asked for as it is. Nothing that is
made here is kept on the disk: it takes some milliseconds of a core to have it again.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from nearframe import log
from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.edge.studyindex import Twins
from nearframe.errors import IntegrityError, RequestError
from nearframe.ids import Digest, sha256
from nearframe.metrics import FRAMES_MADE, RECIPES_REFUSED, Metrics
from nearframe.query.workers import Workers
from nearframe.units import MIB

#: Larger frames are asked for as they are: a few of them at a time would take too much memory.
MAX_FRAME_BYTES: Final = 64 * MIB
_KEPT_BYTES: Final = 32 * MIB

_log = log.logger(__name__)


class FrameMaker:
    """Makes frames, each once for all who wait for it. For one event loop.

    Parameters
    ----------
    cpu
        Threads for codecs.
    """

    def __init__(self, cpu: Workers, metrics: Metrics) -> None:
        self._cpu = cpu
        self._metrics = metrics
        self._kept: SizedLRU[Digest, bytes] = SizedLRU(_KEPT_BYTES)
        self._flights: SingleFlight[Digest, bytes | None] = SingleFlight("make frame")

    def held(self, digest: Digest) -> bytes | None:
        """Return what was made a moment ago."""
        return self._kept.get(digest)

    async def make(self, twins: Twins, digest: Digest, twin: bytes) -> bytes | None:
        """Return one form of a frame, given the bytes of the other; None if it does not come out of them.

        Parameters
        ----------
        digest
            That of the form that is wanted.
        """
        return await self._flights.run(digest, partial(self._make, twins, digest, twin))

    async def _make(self, twins: Twins, digest: Digest, twin: bytes) -> bytes | None:
        call = _native if digest == twins.stored.digest else _rendition
        try:
            made = await self._cpu.run(call, twins, twin)
        except (IntegrityError, RequestError) as error:
            reason = "digest" if isinstance(error, IntegrityError) else "malformed"
            self._metrics.add(RECIPES_REFUSED, operation="coded", reason=reason)
            _log.warning("frame_not_made", error=error)
            return None
        self._metrics.add(FRAMES_MADE, form="native" if call is _native else "rendition")
        self._kept.put(digest, made, len(made))
        return made


# The codecs are imported by the first frame that is made: an edge shows what it holds before it has them.


def _native(twins: Twins, rendition: bytes) -> bytes:
    from nearframe.delta.apply import make
    from nearframe.delta.coded import of_rendition

    assert twins.form.pixel is not None  # noqa: S101 - without it a frame has no twin
    return make(of_rendition(rendition, twins.form.pixel), twins.form, ())


def _rendition(twins: Twins, stored: bytes) -> bytes:
    from nearframe.dicom.transcode import transcode

    assert twins.form.pixel is not None  # noqa: S101 - as above
    made = transcode(stored, twins.form.transfer_syntax_uid, twins.form.pixel, HTJ2KLosslessRPCL).encoded
    if sha256(made) != twins.rendition.digest:
        raise IntegrityError("another release of the encoder made the upstream's rendition")
    return made
