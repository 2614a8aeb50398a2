"""What the records mean: contents, who holds them, and how much of each pack is alive.

One function, `Ledger.apply`, takes a record in, whether it was just written or is read
again after a crash. A content has one entry. There are two while packs are read again in no
meaningful order and a dead copy under another key turns up, until `finish_replay`; and for
good if a power cut took the drop that ended the first, but not the second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nearframe.storage.packs.index import Index, Table
from nearframe.storage.packs.keys import KeyRing
from nearframe.storage.packs.record import (
    FILE_HEADER_BYTES,
    HEADER_BYTES,
    KEY_ID_BYTES,
    RecordHeader,
    RecordType,
    Role,
)
from nearframe.storage.packs.tables import (
    NO_HOLDER,
    NOWHERE,
    Drop,
    Entry,
    SegmentUse,
    Wrap,
    decode_entries,
    decode_number,
    encode_entries,
    encode_number,
)


class Ledger:
    """The tables, as contents and references. Changes need the store's lock; look-ups need none."""

    def __init__(self, index: Index, keys: KeyRing) -> None:
        self._index = index
        self._keys = keys
        self._replaying = False
        self._unheld: set[bytes] = set()
        self._replayed_drops: set[bytes] = set()
        #: Goes up after a content moved, was damaged, lost a reference, or was forgotten: what was
        #: looked up before may be wrong.
        self.generation = 0

    # -- look-ups --------------------------------------------------------------------------

    def entry(self, content_id: bytes) -> Entry | None:
        """Return the entry of a content that is held, readable or not."""
        entries = self._entries(content_id)
        return entries[-1] if entries else None

    def wrap(self, study_key_id: bytes, content_id: bytes) -> Wrap | None:
        """Return a study's wrap of a content key, if it holds the content."""
        data = self._index.get(Table.WRAPS, study_key_id + content_id)
        return None if data is None else Wrap.decode(data)

    def held(self, study_key_id: bytes, content_id: bytes) -> tuple[Entry, Wrap] | None:
        """Return entry and wrap of a content that a study holds, readable or not."""
        wrap = self.wrap(study_key_id, content_id)
        entry = None if wrap is None else self._entry_of(content_id, wrap.key_tag)
        return None if wrap is None or entry is None else (entry, wrap)

    def has_content(self, header: RecordHeader) -> bool:
        """True if the content that a record speaks of is in a pack."""
        entry = self._entry_of(header.content_id, header.key_tag)
        return entry is not None and entry.segment != NOWHERE

    def contents_of(self, study_key_id: bytes) -> Iterator[bytes]:
        """Yield the ids of the contents that a study holds."""
        for key, _ in self._index.with_prefix(Table.WRAPS, study_key_id):
            yield key[KEY_ID_BYTES:]

    def holders_of(self, content_id: bytes, entry: Entry) -> Iterator[bytes]:
        """Yield the key ids of the studies that hold a content."""
        if entry.holder != NO_HOLDER:
            yield entry.holder
        if entry.references > 1:
            for key, _ in self._index.with_prefix(Table.HOLDERS, content_id + entry.key_tag):
                yield key[-KEY_ID_BYTES:]

    def segments(self) -> dict[int, SegmentUse]:
        """Return the packs that the index knows."""
        found = self._index.with_prefix(Table.SEGMENTS, b"")
        return {decode_number(key): SegmentUse.decode(value) for key, value in found}

    def segment(self, number: int) -> SegmentUse | None:
        data = self._index.get(Table.SEGMENTS, encode_number(number))
        return None if data is None else SegmentUse.decode(data)

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield every content there is, with its id."""
        for content_id, data in self._index.with_prefix(Table.CONTENTS, b""):
            yield content_id, decode_entries(data)[-1]

    # -- records ---------------------------------------------------------------------------

    def apply(self, header: RecordHeader, segment: int, offset: int) -> None:
        """Take in a record that stands in a pack."""
        self._grow(segment, offset + header.length)
        if header.type is RecordType.DROP:
            self._add_drop(header, segment)
        if header.type not in (RecordType.CONTENT, RecordType.WRAP):
            return
        entries = self._entries(header.content_id)
        is_new = True
        if header.type is RecordType.CONTENT:
            is_new = self._place(entries, header, segment, offset)
        if header.has_wrap:
            is_new &= self._add_wrap(entries, header, segment)
        self._put_entries(header.content_id, entries)
        if not is_new:
            self.generation += 1

    def register(self, segment: int, role: int) -> None:
        """Know a new pack, whose file is durable."""
        use = SegmentUse(role, FILE_HEADER_BYTES)
        self._index.put_durable(Table.SEGMENTS, encode_number(segment), use.encode())

    def cover(self, segment: int, covered_bytes: int) -> None:
        """A pack is taken in as far as `covered_bytes`, whatever its end holds."""
        self._grow(segment, covered_bytes)

    def mark_damaged(self, content_id: bytes, key_tag: bytes, segment: int, offset: int) -> bool:
        """Keep a content out of every answer, if it is still the copy at this place."""
        entry = self._entry_of(content_id, key_tag)
        if entry is None or entry.damaged or (entry.segment, entry.offset) != (segment, offset):
            return False
        self._put_entry(content_id, entry._replace(damaged=True))
        self.generation += 1
        return True

    def forget_study(self, study_key_id: bytes) -> int:
        """Remove every reference of a study whose key is gone; return how many there were."""
        content_ids = list(self.contents_of(study_key_id))
        for content_id in content_ids:
            wrap = self.wrap(study_key_id, content_id)
            if wrap is not None:
                self._remove_wrap(study_key_id, content_id, wrap)
        return len(content_ids)

    def forget_shredded(self) -> None:
        """Remove the references of studies whose key was destroyed just before a crash."""
        for study_key_id in self._index.stored_groups(Table.WRAPS, KEY_ID_BYTES):
            if self._keys.by_id(study_key_id) is None:
                self.forget_study(study_key_id)

    # -- compaction ------------------------------------------------------------------------

    def survivor(
        self, header: RecordHeader, segment: int, offset: int, leaving: Collection[int]
    ) -> RecordHeader | None:
        """Return what must be kept of a record when the packs `leaving` go, or None.

        A content whose wrap has ended loses the wrap; a wrap whose content stands elsewhere
        stays without it.
        """
        if header.type is RecordType.DROP:
            drop = self._drop(header.wrap_nonce)
            needed = drop is not None and drop.segment == segment and self._is_needed(drop, leaving)
            return header if needed else None
        wrap = self.wrap(header.study_key_id, header.content_id) if header.has_wrap else None
        carries_wrap = wrap is not None and (wrap.wrap_nonce, wrap.carrier) == (header.wrap_nonce, segment)
        entry = self.entry_at(header, segment, offset)
        if entry is not None and not entry.damaged:
            return header if carries_wrap else header.without_wrap()
        return header.only_wrap() if carries_wrap else None

    def entry_at(self, header: RecordHeader, segment: int, offset: int) -> Entry | None:
        """Return the entry of the content that stands at this place, if someone holds it."""
        if header.type is not RecordType.CONTENT:
            return None
        entry = self._entry_of(header.content_id, header.key_tag)
        return entry if entry is not None and (entry.segment, entry.offset) == (segment, offset) else None

    def retire(self, leaving: Collection[int]) -> None:
        """Nothing of these packs is needed any more; their files are about to be removed."""
        for nonce, _ in list(self._index.with_prefix(Table.DROPS, b"")):
            self._forget_drop_unless_needed(nonce, leaving)
        for segment in leaving:
            self._put_segment(segment, SegmentUse(Role.RETIRED, 0))

    def displace(self, header: RecordHeader, segment: int, offset: int) -> None:
        """A damaged content goes with its pack: it is nowhere until stored again."""
        entry = self.entry_at(header, segment, offset)
        if entry is not None:
            self._count(entry, -1)
            self._put_entry(header.content_id, entry._replace(segment=NOWHERE, offset=0))
            self.generation += 1

    def forget_segment(self, segment: int) -> None:
        """A pack's file is gone, durably."""
        self._index.delete(Table.SEGMENTS, encode_number(segment))

    def _forget_drop_unless_needed(self, wrap_nonce: bytes, leaving: Collection[int]) -> None:
        drop = self._drop(wrap_nonce)
        if drop is not None and not self._is_needed(drop, leaving):
            self._index.delete(Table.DROPS, wrap_nonce)
            self._add_live(drop.segment, -HEADER_BYTES)

    def _drop(self, wrap_nonce: bytes) -> Drop | None:
        data = self._index.get(Table.DROPS, wrap_nonce)
        return None if data is None else Drop.decode(data)

    def _is_needed(self, drop: Drop, leaving: Collection[int]) -> bool:
        if drop.carrier in leaving:
            return False
        carrier = self.segment(drop.carrier)
        return carrier is not None and carrier.role != Role.RETIRED

    # -- replay ----------------------------------------------------------------------------

    def begin_replay(self) -> None:
        """Records come in no meaningful order from here: what nothing holds may yet be held."""
        self._replaying = True

    def finish_replay(self) -> None:
        """Every record is in: remove what nothing holds."""
        self._replaying = False
        for content_id in self._unheld:
            self._put_entries(content_id, self._entries(content_id))
        self._unheld.clear()
        for nonce in self._replayed_drops:
            self._forget_drop_unless_needed(nonce, ())
        self._replayed_drops.clear()

    # -- contents: `entries` are those of one content, put back by the caller ---------------

    def _place(self, entries: list[Entry], header: RecordHeader, segment: int, offset: int) -> bool:
        """Say that a content stands here, and not where it stood before; return whether it stood nowhere."""
        known = _take(entries, header.key_tag)
        if known is not None:
            self._count(known, -1)
        entry = (known or Entry(header.key_tag))._replace(
            nonce_prefix=header.nonce_prefix,
            segment=segment,
            offset=offset,
            plain_length=header.plain_length,
            stored_length=header.stored_length,
            kind=header.kind,
            coding=header.coding,
            chunk_log2=header.chunk_log2,
            damaged=False,
        )
        self._count(entry, 1)
        entries.append(entry)
        return known is None

    def _entries(self, content_id: bytes) -> list[Entry]:
        data = self._index.get(Table.CONTENTS, content_id)
        return [] if data is None else decode_entries(data)

    def _entry_of(self, content_id: bytes, key_tag: bytes) -> Entry | None:
        return next((entry for entry in self._entries(content_id) if entry.key_tag == key_tag), None)

    def _put_entry(self, content_id: bytes, entry: Entry) -> None:
        entries = self._entries(content_id)
        _take(entries, entry.key_tag)
        self._put_entries(content_id, [*entries, entry])

    def _put_entries(self, content_id: bytes, entries: list[Entry]) -> None:
        """Put the entries of a content; those that nothing holds go, but for a replay, which waits for its end."""
        held = [entry for entry in entries if entry.references]
        if self._replaying and len(held) < len(entries):
            self._unheld.add(content_id)
            held = entries
        for entry in entries:
            if entry not in held:
                self._count(entry, -1)
        if held:
            self._index.put(Table.CONTENTS, content_id, encode_entries(held))
        else:
            self._index.delete(Table.CONTENTS, content_id)

    # -- references ------------------------------------------------------------------------

    def _add_wrap(self, entries: list[Entry], header: RecordHeader, segment: int) -> bool:
        """Say that a study holds a content; return whether it did not before."""
        study_key_id, content_id = header.study_key_id, header.content_id
        if self._drop(header.wrap_nonce) is not None or self._keys.by_id(study_key_id) is None:
            return True
        known = self.wrap(study_key_id, content_id)
        own_record = header.type is RecordType.WRAP
        wrap = Wrap(header.key_tag, header.wrap_nonce, header.wrapped, segment, own_record)
        self._index.put(Table.WRAPS, study_key_id + content_id, wrap.encode())
        if own_record:
            self._add_live(segment, HEADER_BYTES)
        if known is not None and known.own_record:
            self._add_live(known.carrier, -HEADER_BYTES)
        if known is None or known.key_tag != wrap.key_tag:
            if known is not None:
                self._remove_holder(entries, study_key_id, content_id, known.key_tag)
            self._add_holder(entries, study_key_id, content_id, header.key_tag)
        return known is None

    def _add_holder(self, entries: list[Entry], study_key_id: bytes, content_id: bytes, key_tag: bytes) -> None:
        entry = _take(entries, key_tag) or Entry(key_tag)
        if entry.holder == NO_HOLDER:
            entry = entry._replace(holder=study_key_id)
        else:
            self._index.put(Table.HOLDERS, content_id + key_tag + study_key_id, b"")
        entries.append(entry._replace(references=entry.references + 1))

    def _remove_holder(self, entries: list[Entry], study_key_id: bytes, content_id: bytes, key_tag: bytes) -> None:
        entry = _take(entries, key_tag)
        if entry is None:
            return
        leaving = study_key_id
        if entry.holder == study_key_id:
            others = (holder for holder in self.holders_of(content_id, entry) if holder != study_key_id)
            leaving = next(others, NO_HOLDER)  # moves from the table into the entry
            entry = entry._replace(holder=leaving)
        if entry.references > 1:
            self._index.delete(Table.HOLDERS, content_id + key_tag + leaving)
        entries.append(entry._replace(references=entry.references - 1))

    def _remove_wrap(self, study_key_id: bytes, content_id: bytes, wrap: Wrap) -> None:
        self._index.delete(Table.WRAPS, study_key_id + content_id)
        if wrap.own_record:
            self._add_live(wrap.carrier, -HEADER_BYTES)
        entries = self._entries(content_id)
        self._remove_holder(entries, study_key_id, content_id, wrap.key_tag)
        self._put_entries(content_id, entries)
        self.generation += 1

    def _add_drop(self, header: RecordHeader, segment: int) -> None:
        known = self._drop(header.wrap_nonce)
        if known is not None:
            self._add_live(known.segment, -HEADER_BYTES)
        if self._replaying:
            self._replayed_drops.add(header.wrap_nonce)
        self._index.put(Table.DROPS, header.wrap_nonce, Drop(header.carrier, segment).encode())
        self._add_live(segment, HEADER_BYTES)
        wrap = self.wrap(header.study_key_id, header.content_id)
        if wrap is not None and wrap.wrap_nonce == header.wrap_nonce:
            self._remove_wrap(header.study_key_id, header.content_id, wrap)

    # -- packs -----------------------------------------------------------------------------

    def _grow(self, segment: int, covered_bytes: int) -> None:
        use = self.segment(segment)
        if use is not None and covered_bytes > use.covered_bytes:
            self._put_segment(segment, use._replace(covered_bytes=covered_bytes))

    def _add_live(self, segment: int, change: int) -> None:
        use = self.segment(segment)
        if use is not None and use.role != Role.RETIRED:
            self._put_segment(segment, use._replace(live_bytes=use.live_bytes + change))

    def _count(self, entry: Entry, sign: int) -> None:
        use = self.segment(entry.segment)
        if use is not None and use.role != Role.RETIRED:
            counted = use._replace(
                live_bytes=use.live_bytes + sign * entry.record_length,
                contents=use.contents + sign,
                plain_bytes=use.plain_bytes + sign * entry.plain_length,
            )
            self._put_segment(entry.segment, counted)

    def _put_segment(self, segment: int, use: SegmentUse) -> None:
        self._index.put(Table.SEGMENTS, encode_number(segment), use.encode())


def _take(entries: list[Entry], key_tag: bytes) -> Entry | None:
    """Remove and return the entry of one content key."""
    for place, entry in enumerate(entries):
        if entry.key_tag == key_tag:
            return entries.pop(place)
    return None
