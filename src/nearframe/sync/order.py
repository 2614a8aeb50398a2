"""In which order a reader wants the contents of a study.

What somebody marked as key images comes first. Then of every series the first, the middle
and the last picture; then those in the middle of the largest gaps, so that at every moment
what has arrived is spread evenly over each series. Large values that are no pictures come
last, except those of instances that have no picture: there they are what is looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from nearframe.dicom.rejection import KEY_OBJECT_SELECTION
from nearframe.wire.canonical import JSONObject
from nearframe.wire.manifest import InstanceEntry, Manifest
from nearframe.wire.studycontents import StudyContent

_LAST = 2**31  # beyond what Instance Number (IS) can hold


def sending_order(manifest: Manifest, contents: Sequence[StudyContent]) -> list[int]:
    """Return the numbers of a study's contents, the most urgent first. The same study, the same order."""
    entries = manifest.entries
    marked = set(key_images(manifest))
    ranked: list[tuple[tuple[bool, int], int]] = []
    for shown in _by_series(entries, contents):
        ranks = spread(len(shown))
        for rank, number in zip(ranks, shown, strict=True):
            entry = entries[contents[number].entry]
            ranked.append(((entry.identity.sop_instance_uid not in marked, rank), number))
    first = [number for _, number in sorted(ranked)]
    shown_numbers = set(first)
    return first + [number for number in range(len(contents)) if number not in shown_numbers]


def key_images(manifest: Manifest) -> Iterator[str]:
    """Yield the SOP Instance UIDs that the key object selections of a study refer to (PS3.3 C.17.6.2)."""
    for entry in manifest.entries:
        if entry.identity.sop_class_uid == KEY_OBJECT_SELECTION:
            evidence = _items(entry.metadata, "0040A375")
            for series in (series for study in evidence for series in _items(study, "00081115")):
                for reference in _items(series, "00081199"):
                    yield from (uid for uid in _values(reference, "00081155") if isinstance(uid, str))


def spread(count: int) -> list[int]:
    """Return for each of `count` places when its turn is: first, middle, last, then between those that had theirs."""
    ranks = [0] * count
    turns = _turns(count)
    for turn, place in enumerate(turns):
        ranks[place] = turn
    return ranks


def _turns(count: int) -> Iterator[int]:
    if count:
        yield 0
    if count > 2:
        yield count // 2
    if count > 1:
        yield count - 1
    gaps = deque([(0, count // 2), (count // 2, count - 1)])
    while gaps:
        low, high = gaps.popleft()
        if high - low > 1:
            middle = (low + high) // 2
            yield middle
            gaps += [(low, middle), (middle, high)]


def _by_series(entries: Sequence[InstanceEntry], contents: Sequence[StudyContent]) -> Iterator[list[int]]:
    """Yield the contents that are looked at, series by series, as they are leafed through."""
    shown = [
        number
        for number, content in enumerate(contents)
        if content.frame_index is not None or not len(entries[content.entry].frames)
    ]

    def series(number: int) -> str:
        return entries[contents[number].entry].identity.series_instance_uid

    for _, numbers in groupby(shown, key=series):  # a manifest is ordered by series
        yield sorted(numbers, key=lambda number: (_instance_number(entries[contents[number].entry]), number))


def _instance_number(entry: InstanceEntry) -> int:
    values = _values(entry.metadata, "00200013")
    return values[0] if values and type(values[0]) is int else _LAST


def _items(dataset: JSONObject, tag: str) -> list[JSONObject]:
    return [item for item in _values(dataset, tag) if isinstance(item, dict)]


def _values(dataset: JSONObject, tag: str) -> list[Any]:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
