"""Which renditions there are of an instance's frames, asked of the catalogue a block at a time.

A viewer asks for the frames of an instance one by one, and for the instances of a series; a
query for each would cost more than the frames do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
#: For how long an instance that nobody asked for yet is taken to lack some.
BESIDE_KEPT_S: Final = 1.0
_KEPT_FRAMES: Final = 100_000  # some 300 bytes each
#: Frames of a series asked about at once because one of them is wanted: some 20 ms.
_TOGETHER_FRAMES: Final = 2000


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
    """The renditions in one transfer syntax, remembered for a while.

    Parameters
    ----------
    beside
        Returns which instances are going to be asked for with one, itself included.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sql: Workers,
        transfer_syntax_uid: str,
        beside: Callable[[InstanceRecord], Sequence[InstanceRecord]] = lambda record: (record,),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._sql = sql
        self._transfer_syntax_uid = transfer_syntax_uid
        self._beside = beside
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

    async def look_up(self, records: Iterable[InstanceRecord]) -> None:
        """Ask about every frame of instances of one tenant at once: `of` then waits for nothing."""
        wanted = {
            _key(record, number): _encs(record, number)
            for record in records
            for number in range(-(-len(record.frames) // BLOCK_FRAMES))
            if self._held(_key(record, number)) is None
        }
        if not wanted:
            return
        encs = [enc for block in wanted.values() for enc in block]
        tenant = next(iter(wanted)).tenant
        by_enc = await self._sql.run(self._catalogue.renditions, tenant, encs, self._transfer_syntax_uid)
        for key, block in wanted.items():
            self._keep(key, {enc: by_enc[enc] for enc in block if enc in by_enc}, len(block))

    async def _block(self, record: InstanceRecord, number: int) -> _Block:
        key = _key(record, number)
        known = self._held(key)
        if known is not None:
            return known
        wanted = {key: _encs(record, number), **self._others(record)}
        encs = [enc for block in wanted.values() for enc in block]
        by_enc = await self._sql.run(self._catalogue.renditions, key.tenant, encs, self._transfer_syntax_uid)
        for other, block in wanted.items():
            found = {enc: by_enc[enc] for enc in block if enc in by_enc}
            # What another instance lacks may have been made by the time it is asked for.
            self._keep(other, found, len(block), KEPT_S if other == key or len(found) == len(block) else BESIDE_KEPT_S)
        return self._held(key) or self._keep(key, by_enc, len(wanted[key]))

    def _others(self, record: InstanceRecord) -> dict[_Key, list[Digest]]:
        """Return the first blocks of the instances beside one, if they are not too many and are not held."""
        beside = self._beside(record)
        if len(beside) * len(record.frames) > _TOGETHER_FRAMES:
            return {}
        return {
            _key(one, 0): _encs(one, 0)
            for one in beside
            if one.frames and one is not record and self._held(_key(one, 0)) is None
        }

    def _held(self, key: _Key) -> _Block | None:
        known = self._blocks.get(key)
        return known if known is not None and self._monotonic() < known.until_s else None

    def _keep(self, key: _Key, by_enc: Mapping[Digest, Rendition], frames: int, kept_s: float = KEPT_S) -> _Block:
        block = _Block(by_enc, self._monotonic() + kept_s)
        self._blocks.put(key, block, frames)
        return block


def _key(record: InstanceRecord, number: int) -> _Key:
    return _Key(record.study.tenant, record.hdr, record.identity.sop_instance_uid, number)


def _encs(record: InstanceRecord, number: int) -> list[Digest]:
    """Return the digests of a block of frames."""
    first = number * BLOCK_FRAMES
    return [record.frames.enc_of(index) for index in range(first, min(first + BLOCK_FRAMES, len(record.frames)))]
