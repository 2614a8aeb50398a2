"""A bounded walk over the elements of a data set (PS3.5 section 7).

The walker keeps a stack of *levels*, alternately data sets and sequences, instead of
recursing. It reads element headers and nothing else: values, large or small, are only
checked to lie inside what contains them. That check is the guard against false lengths:

- a value that reaches beyond the object is a truncated or lying object: `MalformedDICOM`;
- a value that reaches beyond the item or sequence around it is a defect inside an object
  that is complete, and must not keep it from being stored. The innermost sequence of
  declared length becomes plain bytes; without one, the rest of the data set does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from struct import Struct

from nearframe.dicom import dictionary, notes, vr
from nearframe.dicom.element import (
    ITEM,
    ITEM_DELIMITATION,
    PIXEL_DATA,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    Element,
    Encoding,
    Item,
)
from nearframe.dicom.fragments import index_fragments
from nearframe.dicom.limits import Limits
from nearframe.dicom.lookup import PrivateBlocks, VRLookup, odd_framings, odd_vr
from nearframe.dicom.window import Window
from nearframe.errors import LimitExceeded, MalformedDICOM

#: Groups from here on are delimiters (PS3.5 section 7.5), not elements.
DELIMITER_GROUP = 0xFFFE

_SHORT_CODES = {code: name for code, name in vr.FROM_CODE.items() if name in vr.SHORT_FORM}
_LONG_CODES = {code: name for code, name in vr.FROM_CODE.items() if name in vr.LONG_FORM}

_EXPLICIT = {order: Struct(f"{order}HH2sH") for order in "<>"}
_IMPLICIT = {order: Struct(f"{order}HHL") for order in "<>"}
_LENGTH = {order: Struct(f"{order}L") for order in "<>"}
_TAG = {order: Struct(f"{order}HH") for order in "<>"}

_HEADER_BYTES = 12  # the longest: tag, VR, two reserved bytes, 32-bit length
_SHORT_HEADER_BYTES = 8


class _Unreadable(Exception):
    """The structure breaks at this point, inside an object that is otherwise complete."""


class _Level:
    """A data set, filling `elements`, or a sequence, filling `items`, that is being walked.

    `bound` is where it must end at the latest; it ends exactly there if `is_defined`.
    """

    __slots__ = ("blocks", "bound", "counted", "elements", "encoding", "is_defined", "items", "sequence")

    def __init__(
        self, bound: int, is_defined: bool, encoding: Encoding, elements: list[Element], sequence: Element | None = None
    ) -> None:
        self.bound = bound
        self.is_defined = is_defined
        self.encoding = encoding
        self.elements = elements
        self.items: list[Item] = []
        self.sequence = sequence
        self.counted = 0
        self.blocks = PrivateBlocks(elements)


class Walker:
    """Walks one data set. Use once.

    Parameters
    ----------
    only_group
        If given, the walk ends at the first element of another group: 0x0002 to read the meta group.
    found
        Receives the codes of oddities.
    """

    def __init__(
        self,
        window: Window,
        limits: Limits,
        found: set[str],
        *,
        only_group: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window = window
        self._limits = limits
        self._found = found
        self._only_group = only_group
        self._groups = (0, DELIMITER_GROUP) if only_group is None else (only_group, only_group + 1)
        self._monotonic = monotonic
        self._deadline = monotonic() + limits.max_parse_seconds
        self._count = 0
        self._pos = 0
        self._stack: list[_Level] = []
        self._lookup = VRLookup(window)
        self._ambiguous: list[Element] = []

    def walk(self, start: int, encoding: Encoding) -> tuple[list[Element], int]:
        """Return the elements from `start` on, and the offset after the last of them."""
        root = _Level(self._window.size, True, encoding, [])
        self._stack.append(root)
        self._pos = start
        while self._stack:
            level = self._stack[-1]
            try:
                if level.sequence is not None:
                    self._walk_items(level, level.sequence)
                elif level.encoding is Encoding.IMPLICIT_LITTLE:
                    self._walk_implicit(level)
                else:
                    self._walk_explicit(level)
            except _Unreadable:
                self._recover()
            self._account(level)
        self._lookup.settle(self._ambiguous, root.elements)
        return root.elements, self._pos

    # -- elements --------------------------------------------------------------------------

    def _walk_explicit(self, level: _Level) -> None:
        window, append, bound = self._window, level.elements.append, level.bound
        first_group, stop_group = self._groups
        unpack = _EXPLICIT[level.encoding.order].unpack_from
        data, start, pos = window.data, window.start, self._pos
        last = bound - _SHORT_HEADER_BYTES
        while pos <= last:
            at = pos - start
            if at + _HEADER_BYTES > len(data):
                self._advance(level, pos)
                data, start = window.data, window.start
                at = pos - start
            group, number, code, length = unpack(data, at)
            if not first_group <= group < stop_group:
                return self._delimit(level, pos, group << 16 | number)
            name = _SHORT_CODES.get(code)
            if name is None:
                self._pos = pos
                if self._walk_long(level, group << 16 | number, code):
                    return None
                pos, data, start = self._pos, window.data, window.start
                continue
            stop = pos + 8 + length
            if stop > bound:
                return self._overflow(level, pos, group << 16 | number)
            append(Element(group << 16 | number, name, pos, pos + 8, length, stop))
            pos = stop
        return self._end_dataset(level, pos)

    def _walk_implicit(self, level: _Level) -> None:
        window, bound = self._window, level.bound
        first_group, stop_group = self._groups
        unpack = _IMPLICIT["<"].unpack_from
        data, start, pos = window.data, window.start, self._pos
        last = bound - _SHORT_HEADER_BYTES
        while pos <= last:
            at = pos - start
            if at + _SHORT_HEADER_BYTES > len(data):
                self._advance(level, pos)
                data, start = window.data, window.start
                at = pos - start
            group, number, length = unpack(data, at)
            if not first_group <= group < stop_group:
                return self._delimit(level, pos, group << 16 | number)
            self._pos = pos
            if self._take_implicit(level, group << 16 | number, pos, length):
                return None
            pos, data, start = self._pos, window.data, window.start
        return self._end_dataset(level, pos)

    def _take_implicit(self, level: _Level, tag: int, pos: int, length: int) -> bool:
        """Add one element of implicit VR; return True if the walk goes on elsewhere."""
        name = self._lookup.find(tag, level.blocks)
        if length == UNDEFINED_LENGTH:
            self._descend(level, Element(tag, name or "SQ", pos, pos + 8, 0, 0), Encoding.IMPLICIT_LITTLE)
            return True
        stop = pos + 8 + length
        if stop > level.bound:
            return self._overflow_implicit(level, pos, tag)
        element = Element(tag, name or "UN", pos, pos + 8, length, stop)
        if name == "SQ":
            self._enter(level, element, stop, True, Encoding.IMPLICIT_LITTLE)
            return True
        if name == dictionary.US_OR_SS:
            self._ambiguous.append(element)
        level.elements.append(element)
        self._pos = stop
        return False

    def _walk_long(self, level: _Level, tag: int, code: bytes) -> bool:
        """Add one element of the 32-bit form, or of no known form; return True if the walk goes on elsewhere."""
        pos, order = self._pos, level.encoding.order
        name = _LONG_CODES.get(code)
        if name is None:
            return self._walk_odd(level, tag, code)
        at = pos - self._window.start
        if pos + _HEADER_BYTES > level.bound or at + _HEADER_BYTES > len(self._window.data):
            raise self._cut_off(level, pos)
        length: int = _LENGTH[order].unpack_from(self._window.data, at + 8)[0]
        # PS3.5 section 6.2.2: what is sent as UN is implicit little endian inside.
        inner = Encoding.IMPLICIT_LITTLE if name == "UN" else level.encoding
        if length == UNDEFINED_LENGTH:
            self._descend(level, Element(tag, name, pos, pos + 12, 0, 0), inner)
            return True
        stop = pos + 12 + length
        if stop > level.bound:
            self._overflow(level, pos, tag)
            return True
        if name == "UN":
            known = self._lookup.find_unknown(tag, level.blocks)
            # What was sent as UN is little endian; its data set may not be.
            name = name if order == ">" and known in vr.ORDERED else known
        element = Element(tag, name, pos, pos + 12, length, stop)
        if name == "SQ":
            self._enter(level, element, stop, True, inner)
            return True
        level.elements.append(element)
        self._pos = stop
        return False

    def _walk_odd(self, level: _Level, tag: int, code: bytes) -> bool:
        """Add an element whose VR does not exist, framed in the first way that makes sense."""
        pos, at = self._pos, self._pos - self._window.start
        if tag == 0 and code == b"\0\0":
            return self._end_root(level, pos)
        header = self._window.data[at : at + min(_HEADER_BYTES, level.bound - pos)]
        framings = odd_framings(header, level.encoding.order)
        fitting = [framing for framing in framings if self._may_end(level, pos + sum(framing))]
        if not fitting:
            self._overflow(level, pos, tag)
            return True
        size, length = next((one for one in fitting if self._is_plausible(level, tag, pos + sum(one))), fitting[0])
        self._found.add(notes.WRONG_VR)
        name = self._lookup.find_unknown(tag, level.blocks, otherwise=odd_vr(code))
        self._pos = pos + size + length
        level.elements.append(Element(tag, name, pos, pos + size, length, self._pos))
        return False

    def _may_end(self, level: _Level, stop: int) -> bool:
        """Return True if an element can end at `stop`: inside what contains it, and not inside what left the header."""
        return stop <= level.bound and (stop == level.bound or self._window.holds(stop) or self._window.holds(stop - 1))

    def _is_plausible(self, level: _Level, tag: int, stop: int) -> bool:
        """Return True if an element may end at `stop`: the next tag is higher, or a delimiter, or nothing."""
        if stop + _SHORT_HEADER_BYTES > level.bound:
            return stop == level.bound
        if not self._window.holds(stop):
            return False
        group, number = _TAG[level.encoding.order].unpack(self._window.peek(stop, 4))
        return bool(group << 16 | number > tag)

    # -- sequences -------------------------------------------------------------------------

    def _descend(self, level: _Level, element: Element, inner: Encoding) -> None:
        """Go into a value of undefined length: fragments or items."""
        if element.tag == PIXEL_DATA or element.vr in ("OB", "OW"):
            self._walk_fragments(level, element)
            return
        element.vr = "SQ"
        self._enter(level, element, level.bound, False, inner)

    def _enter(self, level: _Level, element: Element, bound: int, is_defined: bool, inner: Encoding) -> None:
        if len(self._stack) // 2 >= self._limits.max_nesting:
            raise LimitExceeded("max_nesting", self._limits.max_nesting)
        level.elements.append(element)
        self._pos = element.value_offset
        inside = _Level(bound, is_defined, inner, [], element)
        element.items = inside.items
        self._stack.append(inside)

    def _walk_items(self, level: _Level, sequence: Element) -> None:
        """Read the next item tag of a sequence, and go into the item."""
        pos = self._pos
        if pos >= level.bound:
            return self._close(level, pos)
        if level.bound - pos < _SHORT_HEADER_BYTES:
            raise self._cut_off(level, pos)
        self._advance(level, pos)
        at = pos - self._window.start
        group, number, length = _IMPLICIT[level.encoding.order].unpack_from(self._window.data, at)
        tag = group << 16 | number
        if tag == SEQUENCE_DELIMITATION:
            return self._end_sequence(level, sequence, pos)
        if tag != ITEM:
            raise _Unreadable
        is_defined = length != UNDEFINED_LENGTH
        bound = pos + 8 + length if is_defined else level.bound
        if bound > level.bound:
            return self._overflow(level, pos, tag)
        item = Item(pos, level.encoding)
        level.items.append(item)
        self._count += 1
        self._pos = pos + 8
        self._stack.append(_Level(bound, is_defined, level.encoding, item.elements))
        return None

    def _end_sequence(self, level: _Level, sequence: Element, pos: int) -> None:
        self._pos = pos + 8
        if level.is_defined and self._pos < level.bound:
            return  # a delimiter that should not be there; what follows is looked at
        sequence.length = pos - sequence.value_offset
        sequence.end = level.bound if level.is_defined else self._pos
        self._stack.pop()

    def _walk_fragments(self, level: _Level, element: Element) -> None:
        """Index an encapsulated value."""
        fragments, pos, tag = index_fragments(
            self._window, element.value_offset, level.bound, level.encoding.order, self._limits, self._check_time
        )
        if tag is None:
            raise self._cut_off(level, pos)
        if tag != SEQUENCE_DELIMITATION:
            raise _Unreadable
        element.length = pos - element.value_offset
        element.end = self._pos = pos + 8
        element.fragments = fragments
        level.elements.append(element)

    # -- ends ------------------------------------------------------------------------------

    def _close(self, level: _Level, pos: int) -> None:
        """Leave a level whose bound is reached."""
        if not level.is_defined:
            if level.bound == self._window.size:
                raise self._cut_off(level, pos)
            self._found.add(notes.NO_DELIMITER)
        self._pos = pos
        self._leave(level, pos)

    def _leave(self, level: _Level, end: int) -> None:
        if level.sequence is not None:
            level.sequence.length = end - level.sequence.value_offset
            level.sequence.end = end
        self._stack.pop()

    def _delimit(self, level: _Level, pos: int, tag: int) -> None:
        """Handle a tag that is not an element of this data set."""
        self._pos = pos
        if self._only_group is not None:
            self._stack.clear()  # the meta group ends where another group begins
        elif tag == ITEM_DELIMITATION and (len(self._stack) == 1 or level.is_defined):
            self._pos = pos + 8  # a delimiter that should not be there
        elif tag == ITEM_DELIMITATION:
            self._pos = pos + 8
            self._leave(level, pos)
        elif tag in (ITEM, SEQUENCE_DELIMITATION) and len(self._stack) > 1 and not level.is_defined:
            self._found.add(notes.NO_DELIMITER)
            self._leave(level, pos)
        elif tag == SEQUENCE_DELIMITATION and len(self._stack) == 1:
            self._pos = pos + 8
        else:
            raise _Unreadable

    def _end_dataset(self, level: _Level, pos: int) -> None:
        """Leave a data set at its bound, or short of it by less than an element."""
        if pos >= level.bound:
            self._close(level, pos)
        elif len(self._stack) == 1:
            self._end_root(level, pos)
        else:
            raise self._cut_off(level, pos)

    def _end_root(self, level: _Level, pos: int) -> bool:
        if len(self._stack) > 1:
            raise _Unreadable
        self._pos = pos
        self._found.add(notes.TRAILING_BYTES)
        self._stack.clear()
        return True

    def _overflow(self, level: _Level, pos: int, tag: int) -> None:
        """Handle a value that reaches beyond its bound."""
        self._pos = pos
        if len(self._stack) == 1 and level.elements and level.elements[-1].tag >= PIXEL_DATA:
            # Writers that pad files with anything do it behind the pixel data.
            self._end_root(level, pos)
            return
        raise self._cut_off(level, pos)

    def _overflow_implicit(self, level: _Level, pos: int, tag: int) -> bool:
        code = self._window.peek(pos + 4, 2)
        if code in vr.FROM_CODE and not level.elements and len(self._stack) > 1:
            # Some converters write what was UN with explicit VR inside.
            self._found.add(notes.WRONG_ENCODING)
            level.encoding = Encoding.EXPLICIT_LITTLE
        else:
            self._overflow(level, pos, tag)
        return True

    def _cut_off(self, level: _Level, pos: int) -> Exception:
        if level.bound == self._window.size:
            return MalformedDICOM("a declared length reaches beyond the object: it is truncated", offset=pos)
        return _Unreadable()

    def _recover(self) -> None:
        """Turn the innermost sequence of declared length into plain bytes, or give up on the rest."""
        while len(self._stack) > 1:
            level = self._stack.pop()
            sequence = level.sequence
            if sequence is not None and level.is_defined:
                self._found.add(notes.UNREADABLE_SEQUENCE)
                sequence.vr, sequence.items = "UN", None
                sequence.length, sequence.end = level.bound - sequence.value_offset, level.bound
                self._pos = level.bound
                return
            if sequence is not None and len(self._stack) == 1:
                self._stack[0].elements.pop()
                self._pos = sequence.offset
        if self._only_group is None:
            self._found.add(notes.UNREADABLE_TAIL)
        self._stack.clear()

    # -- bookkeeping -----------------------------------------------------------------------

    def _advance(self, level: _Level, pos: int) -> None:
        """Bring an element header into view; count and look at the clock."""
        self._account(level)
        window = self._window
        if window.holds(pos):
            window.cover(pos, _HEADER_BYTES)
        if window.start + len(window.data) - pos < _SHORT_HEADER_BYTES:
            # What could not be read when the object was split left the header as a whole.
            self._pos = pos
            raise _Unreadable

    def _account(self, level: _Level) -> None:
        self._count += len(level.elements) - level.counted
        level.counted = len(level.elements)
        if self._count > self._limits.max_elements:
            raise LimitExceeded("max_elements", self._limits.max_elements)
        self._check_time()

    def _check_time(self) -> None:
        if self._monotonic() > self._deadline:
            raise LimitExceeded("max_parse_seconds", self._limits.max_parse_seconds)
