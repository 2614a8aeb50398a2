"""Which renditions there are of an instance's frames, asked of the catalogue a block at a time.

A viewer asks for the frames of an instance one by one; a query for each would cost more
than the frames do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from nearframe.cache.sizedlru import SizedLRU
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord, Rendition

#: Frames asked about at once: one query.
BLOCK_FRAMES: Final = 256
#: What is made meanwhile is offered this much later, at most.
KEPT_S: Final = 20.0
_KEPT_FRAMES: Final = 100_000  # some 300 bytes each


class _Key(NamedTuple):
    tenant: str
    hdr: Digest
    sop_instance_uid: str
    block: int


@dataclass(frozen=True, slots=True)
class _Block:
    by_enc: Mapping[Digest, Rendition]
    until_s: float


class KnownRenditions:
    """The renditions in one transfer syntax, remembered for a while."""

    def __init__(
        self,
        catalogue: Catalogue,
        sql: Workers,
        transfer_syntax_uid: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._sql = sql
        self._transfer_syntax_uid = transfer_syntax_uid
        self._monotonic = monotonic
        self._blocks: SizedLRU[_Key, _Block] = SizedLRU(_KEPT_FRAMES)

    async def of(self, record: InstanceRecord, frame_numbers: Iterable[int]) -> dict[int, Rendition]:
        """Return the renditions of these frames, by frame number; stops at the first that has none."""
        found: dict[int, Rendition] = {}
        for number in frame_numbers:
            block = await self._block(record, (number - 1) // BLOCK_FRAMES)
            rendition = block.by_enc.get(record.frames.enc_of(number - 1))
            if rendition is None:
                break
            found[number] = rendition
        return found

    async def _block(self, record: InstanceRecord, number: int) -> _Block:
        key = _Key(record.study.tenant, record.hdr, record.identity.sop_instance_uid, number)
        known = self._blocks.get(key)
        if known is not None and self._monotonic() < known.until_s:
            return known
        first = number * BLOCK_FRAMES
        frames = range(first, min(first + BLOCK_FRAMES, len(record.frames)))
        encs = [record.frames.enc_of(index) for index in frames]
        by_enc = await self._sql.run(self._catalogue.renditions, key.tenant, encs, self._transfer_syntax_uid)
        block = _Block(by_enc, self._monotonic() + KEPT_S)
        self._blocks.put(key, block, len(encs))
        return block
