"""Which bytes each frame of a study would be answered with: what a browser needs to know that it holds them.

One row for a frame: the validator that `…/frames/N` has for the same Accept header. Its first
64 characters are the SHA-256 of the payload, so a reader can prove what it keeps. A frame that
would be made on request has none: null.

The table names pixels only. A correction of attributes leaves it as it is, and so its validator:
who asks again is told 304.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.dicomweb import negotiation
from nearframe.errors import NotAcceptable
from nearframe.ids import Digest, sha256
from nearframe.query.freshness import Stamp
from nearframe.query.known_renditions import KEPT_S
from nearframe.query.records import InstanceRecords
from nearframe.query.retrieve_frames import FrameForm, FrameService, Source
from nearframe.query.workers import Workers
from nearframe.storage.ports import InstanceRecord, StudyRef
from nearframe.units import MIB
from nearframe.wire.accept import AcceptRange, Representation
from nearframe.wire.contentcoding import IDENTITY, encode

_CACHE_BYTES: Final = 16 * MIB  # some 50 bytes a frame and coding
#: Instances between two turns of the event loop: about a millisecond of work.
_INSTANCES_A_TURN: Final = 32

#: A validator without its quotes, or None.
Row: TypeAlias = str | None


class _Key(NamedTuple):
    study: StudyRef
    accepted: tuple[AcceptRange, ...]


@dataclass(slots=True)
class FrameTable:
    """The table of a study as it stands.

    Attributes
    ----------
    digest
        Of the document: the same at every node that would send the same bytes.
    coded
        The JSON document, by content coding.
    until_s
        Monotonic time until which no rendition is looked for that may have been made since.
    """

    stamp: Stamp
    digest: Digest
    coded: dict[str, bytes] = field(repr=False)
    until_s: float


class FrameTables:
    """Makes tables, once for a state of a study and an Accept header. For one event loop."""

    def __init__(
        self,
        records: InstanceRecords,
        frames: FrameService,
        cpu: Workers,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._frames = frames
        self._cpu = cpu
        self._monotonic = monotonic
        self._tables: SizedLRU[_Key, FrameTable] = SizedLRU(_CACHE_BYTES)
        self._making: SingleFlight[_Key, FrameTable] = SingleFlight("frame table")
        self.made = 0

    async def of(self, context: Context, study_instance_uid: str, accepted: tuple[AcceptRange, ...]) -> FrameTable:
        """Return the table of a study, for readers that accept these when they ask for a frame.

        Raises
        ------
        NotFound, AccessError
        """
        key = _Key(self._records.study(context, study_instance_uid), accepted)
        known = self._tables.get(key)
        if known is not None and known.stamp.valid and self._monotonic() < known.until_s:
            return known
        return await self._making.run(key, lambda: self._make(context, key))

    async def coded(self, table: FrameTable, coding: str) -> bytes:
        """Return the document in a content coding."""
        body = table.coded.get(coding)
        if body is None:
            body = table.coded[coding] = await self._cpu.run(encode, table.coded[IDENTITY], coding)
        return body

    async def _make(self, context: Context, key: _Key) -> FrameTable:
        stamp = self._records.freshness.stamp(key.study)
        records = await self._records.list(context, key.study.study_instance_uid)
        await self._frames.look_up(records)
        rows, is_final = await self._rows(records, key.accepted)
        document = await self._cpu.run(_document, rows)
        until_s = float("inf") if is_final else self._monotonic() + KEPT_S
        table = FrameTable(stamp, sha256(document), {IDENTITY: document}, until_s)
        # The document and its compressed forms, which are about a third of it.
        self._tables.put(key, table, 2 * len(document))
        self.made += 1
        return table

    async def _rows(
        self, records: Sequence[InstanceRecord], accepted: Sequence[AcceptRange]
    ) -> tuple[dict[str, list[Row]], bool]:
        """Return the rows by SOP Instance UID, and whether no better form of any frame can appear."""
        chosen: dict[tuple[str, ...], Representation | None] = {}
        rows: dict[str, list[Row]] = {}
        is_final = True
        for index, record in enumerate(records):
            if index % _INSTANCES_A_TURN == 0:
                await asyncio.sleep(0)
            own = rows[record.identity.sop_instance_uid] = []
            for number in range(1, len(record.frames) + 1):
                forms = {form.transfer_syntax_uid: form for form in await self._frames.forms(record, (number,))}
                offered = tuple(forms)
                if offered not in chosen:
                    chosen[offered] = _choose(accepted, offered)
                representation = chosen[offered]
                form = None if representation is None else forms[representation.offer.transfer_syntax or ""]
                is_final = is_final and form is not None and form.source is Source.RENDITION
                own.append(self._row(record, number, representation, form))
        return rows, is_final

    def _row(
        self, record: InstanceRecord, number: int, representation: Representation | None, form: FrameForm | None
    ) -> Row:
        if representation is None or form is None or form.source is Source.MADE:
            return None  # the validator of what is made tells what it was made from
        return f"{self._frames.etag_digest(record, number, form).hex()}-{negotiation.label(representation)}"


def _choose(accepted: Sequence[AcceptRange], syntaxes: Sequence[str]) -> Representation | None:
    try:
        return negotiation.frames(accepted, syntaxes, 1)
    except NotAcceptable:
        return None


def _document(rows: dict[str, list[Row]]) -> bytes:
    return json.dumps({"instances": rows}, separators=(",", ":")).encode()
