"""Keys of a query that are a data set (PS3.4 section C.2.2): as tests, and as what is to be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nearframe.dicom.jsonitems import first_item, items_of, texts_of
from nearframe.dicom.model import DICOMJSON
from nearframe.query.matching import parse_test
from nearframe.storage.catalogue.criteria import Criterion

#: Of the protocol, not of what is looked for: character set, level, retrieval.
_NOT_KEYS: Final = frozenset({"00080005", "00080052", "00080053", "00080054"})


def criteria_of(keys: DICOMJSON, path: tuple[str, ...] = ()) -> Iterator[Criterion]:
    """Yield what the keys ask for; an empty one asks for nothing, of a sequence the first item is the key.

    Raises
    ------
    MalformedRequest
        If a value cannot be one of its VR.
    """
    for tag, key in keys.items():
        if tag in _NOT_KEYS:
            continue
        if key.get("vr") == "SQ":
            yield from criteria_of(first_item(keys, tag), (*path, tag))
        elif (test := parse_test(key.get("vr", "UN"), tag, "\\".join(texts_of(key)))) is not None:
            yield Criterion((*path, tag), test)


def shown(keys: DICOMJSON, found: DICOMJSON) -> DICOMJSON:
    """Return what the keys name, of a data set; empty where there is nothing."""
    return {tag: _shown(keys, tag, found) for tag in keys if tag not in _NOT_KEYS}


def _shown(keys: DICOMJSON, tag: str, found: DICOMJSON) -> DICOMJSON:
    vr = keys[tag].get("vr") or "UN"
    if wanted := first_item(keys, tag):
        return {"vr": "SQ", "Value": [shown(wanted, item) for item in items_of(found, tag)]}
    return found.get(tag) or {"vr": vr}
