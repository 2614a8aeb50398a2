"""What changed between two headers, as replacements of top-level elements.

A correction of a patient's name changes the same few elements of every instance. As an
edit it is one small value, the same for all of them, which a holder of the old headers
applies; the digest of the result is the proof that it came out right.

An edit names elements by tag and carries their whole new encoding. Group lengths follow
by themselves (PS3.5 section 7.2). Elements with pieces in them cannot be edited: `diff`
has no answer then, and the new header travels whole.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from nearframe.dicom.element import DataSet, Element
from nearframe.dicom.header_source import HeaderSource
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Slice
from nearframe.dicom.part10 import parse
from nearframe.errors import MalformedDICOM, MalformedRequest
from nearframe.wire.header import HeaderBlob, Hole

#: Elements by tag: their whole new encoding, or None to remove them.
Changes: TypeAlias = tuple[tuple[int, bytes | None], ...]

_Parts: TypeAlias = tuple[bytes | Hole, ...]
_Rows: TypeAlias = list[tuple[int, _Parts]]


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """Replacements, ascending by tag. Empty if the headers are the same.

    Attributes
    ----------
    preamble
        What stands before the meta group, if that changed.
    """

    meta: Changes = ()
    dataset: Changes = ()
    preamble: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the edit as JSON: tags to base64, or to null where an element goes."""
        out: dict[str, Any] = {}
        if self.preamble is not None:
            out["preamble"] = _base64(self.preamble)
        for name, changes in (("meta", self.meta), ("dataset", self.dataset)):
            if changes:
                out[name] = {f"{tag:08X}": _base64(raw) for tag, raw in changes}
        return out

    @classmethod
    def from_json(cls, data: Any) -> HeaderEdit:
        """Read an edit.

        Raises
        ------
        MalformedRequest
            If `data` is not one.
        """
        try:
            preamble = _from_base64(data.get("preamble"))
            return cls(_changes(data.get("meta", {})), _changes(data.get("dataset", {})), preamble)
        except (AttributeError, TypeError, ValueError) as error:
            raise MalformedRequest("not a header edit") from error


def diff(old: HeaderBlob, new: HeaderBlob, limits: Limits | None = None) -> HeaderEdit | None:
    """Return the edit that makes `new` of `old`, or None if no edit can.

    The answer has been tried: applying it gives `new` exactly.
    """
    if old == new:
        return HeaderEdit()
    try:
        before, after = _Layout(old, limits), _Layout(new, limits)
    except MalformedDICOM:
        return None
    if not before.is_editable or not after.is_editable:
        return None
    preamble = after.preamble if after.preamble != before.preamble else None
    for with_group_lengths in (False, True):
        edit = HeaderEdit(
            _changed(before.meta, after.meta, with_group_lengths),
            _changed(before.dataset, after.dataset, with_group_lengths),
            preamble,
        )
        if before.edited(edit) == new:
            return edit
    return None


def apply(old: HeaderBlob, edit: HeaderEdit, limits: Limits | None = None) -> HeaderBlob:
    """Return the header that `edit` makes of `old`. The caller checks its digest.

    Raises
    ------
    MalformedDICOM
        If `old` cannot be read.
    """
    return _Layout(old, limits).edited(edit)


class _Layout:
    """A header as the elements it consists of."""

    def __init__(self, header: HeaderBlob, limits: Limits | None) -> None:
        self._source = HeaderSource(header)
        part10 = parse(self._source, limits)
        meta, dataset = part10.meta, part10.dataset
        start = meta.elements[0].offset if meta.elements else part10.dataset_offset
        self.preamble = self._source.read(0, start)
        self.meta = self._rows(meta)
        self.dataset = self._rows(dataset)
        self._order = dataset.encoding.order
        self._tail = self._parts(dataset.end, self._source.size)
        self.is_editable = _is_unique(self.meta) and _is_unique(self.dataset)

    def edited(self, edit: HeaderEdit) -> HeaderBlob:
        """Return the header with `edit` applied."""
        preamble = self.preamble if edit.preamble is None else edit.preamble
        meta = _with_group_lengths(_merged(self.meta, edit.meta), edit.meta, "<")
        dataset = _with_group_lengths(_merged(self.dataset, edit.dataset), edit.dataset, self._order)
        parts: list[bytes | Hole] = [preamble]
        for _, row in (*meta, *dataset):
            parts += row
        return _joined([*parts, *self._tail])

    def _rows(self, dataset: DataSet) -> _Rows:
        return [(element.tag, self._row(element)) for element in dataset.elements]

    def _row(self, element: Element) -> _Parts:
        return self._parts(element.offset, element.end)

    def _parts(self, start: int, stop: int) -> _Parts:
        # Positions are those of the old header: they mean nothing here, and must not tell equal holes apart.
        return tuple(
            part if isinstance(part, bytes) else replace(part, position=0)
            for part in self._source.parts(Slice(start, stop - start))
        )


def _is_unique(rows: _Rows) -> bool:
    return len({tag for tag, _ in rows}) == len(rows)


def _changed(before: _Rows, after: _Rows, with_group_lengths: bool) -> Changes:
    """Return what differs. Group lengths are left to follow, or else all named in the groups that changed."""
    old, new = dict(before), dict(after)
    tags = {tag for tag in old.keys() | new.keys() if old.get(tag) != new.get(tag)}
    lengths = {tag for tag in old.keys() & new.keys() if tag & 0xFFFF == 0}
    if with_group_lengths:
        tags |= lengths & {tag >> 16 << 16 for tag in tags}
    else:
        tags -= lengths
    return tuple((tag, _literal(new.get(tag))) for tag in sorted(tags))


def _literal(parts: _Parts | None) -> bytes | None:
    return None if parts is None else b"".join(part for part in parts if isinstance(part, bytes))


def _merged(rows: _Rows, changes: Changes) -> _Rows:
    """Replace and remove elements where they are; put new ones before the first of a higher tag."""
    wanted = dict(changes)
    merged: _Rows = []
    for tag, parts in rows:
        raw = wanted.pop(tag, b"")
        if raw is not None:
            merged.append((tag, (raw,) if raw else parts))
    for tag, raw in sorted(wanted.items()):
        if raw is not None:
            at = next((index for index, (other, _) in enumerate(merged) if other > tag), len(merged))
            merged.insert(at, (tag, (raw,)))
    return merged


def _with_group_lengths(rows: _Rows, changes: Changes, order: str) -> _Rows:
    """Recompute the group lengths of the groups that changed, unless the edit says them itself."""
    named = {tag for tag, _ in changes}
    stale = {tag >> 16 << 16 for tag in named} - named
    if not any(tag in stale for tag, _ in rows):
        return rows
    byteorder: Literal["big", "little"] = "big" if order == ">" else "little"
    out: _Rows = []
    for tag, parts in rows:
        if tag in stale:
            length = sum(_length(inner) for other, inner in rows if other >> 16 == tag >> 16 and other != tag)
            header = (_literal(parts) or b"")[:-4]
            parts = (header + (length % 2**32).to_bytes(4, byteorder),)
        out.append((tag, parts))
    return out


def _length(parts: Iterable[bytes | Hole]) -> int:
    return sum(len(part) if isinstance(part, bytes) else part.length for part in parts)


def _joined(parts: Iterable[bytes | Hole]) -> HeaderBlob:
    literals, holes = bytearray(), []
    for part in parts:
        if isinstance(part, bytes):
            literals += part
        else:
            holes.append(replace(part, position=len(literals)))
    return HeaderBlob(bytes(literals), tuple(holes))


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else b64encode(raw).decode("ascii")


def _from_base64(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _changes(data: dict[str, str | None]) -> Changes:
    return tuple(sorted((int(tag, 16), _from_base64(text)) for tag, text in data.items()))
