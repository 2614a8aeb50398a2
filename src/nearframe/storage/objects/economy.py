"""What is worth rewriting: a pure question of bytes and requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from nearframe.storage.catalogue.values import microseconds
from nearframe.storage.objects.index import ObjectUse
from nearframe.units import KIB, MIB

#: Survivors go into objects of at most this: large enough that requests do not count any more.
PACKED_BYTES: Final = 64 * MIB
#: An object below this is small: one commit of few senders. They are put together once there are many.
SMALL_BYTES: Final = 4 * MIB
MANY_SMALL: Final = 16
#: Younger objects are left alone: what was just stored is what is corrected, and read.
SETTLED: Final = timedelta(hours=1)
#: A request costs as much as keeping this much for half a year (0.005 $ a thousand, 0.023 $ a gigabyte and month).
REQUEST_BYTES: Final = 40 * KIB
#: Of objects with more alive nothing is rewritten: moving a byte costs about as much as keeping it until it is deleted.
MAX_LIVE_SHARE: Final = 0.5


def groups_worth_rewriting(
    objects: Sequence[ObjectUse],
    now: datetime,
    max_live_share: float = MAX_LIVE_SHARE,
    *,
    packed_bytes: int = PACKED_BYTES,
    small_bytes: int = SMALL_BYTES,
) -> list[list[ObjectUse]]:
    """Return groups of objects, the survivors of each of which make one new object.

    Rewriting reads and writes what is alive once, and frees what is dead: that pays where more is
    dead than alive, and the bytes are worth the requests. Small objects are put together when there are enough
    of them to save their readers requests. Objects under a legal hold stay as they are.
    """
    settled_before = microseconds(now - SETTLED)
    movable = [one for one in objects if not one.held and one.written_at <= settled_before]
    sparse: list[ObjectUse] = []
    small: list[ObjectUse] = []
    for one in movable:
        if _pays(one, max_live_share):
            sparse.append(one)
        elif one.length < small_bytes:
            small.append(one)
    chosen = sparse + (small if len(small) >= MANY_SMALL else [])
    groups: list[list[ObjectUse]] = []
    room = 0
    for one in sorted(chosen):
        if not groups or one.live_bytes > room:
            groups.append([])
            room = packed_bytes
        groups[-1].append(one)
        room -= one.live_bytes
    return [group for group in groups if len(group) > 1 or _pays(group[0], max_live_share)]


def _pays(one: ObjectUse, max_live_share: float) -> bool:
    if not one.contents:
        return True  # nothing is read or written for it
    # One request to read, one to write, one to remove.
    return one.live_bytes <= max_live_share * one.length and one.length - one.live_bytes >= 3 * REQUEST_BYTES
