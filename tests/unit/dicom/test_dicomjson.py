"""DICOM JSON, by the standard and against pydicom."""

from __future__ import annotations

import json
import math
import struct
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.dicom import notes
from nearframe.dicom.dicomjson import swap_words, to_json
from nearframe.dicom.limits import INLINE_MAX_BYTES
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource, FileSource
from nearframe.errors import MalformedDICOM
from tests.unit.dicom import objects as o
from tests.unit.dicom.objects import packaged
from tests.vectors.make_zoo import objects_of

PACKAGED = packaged()


def encoded(elements: bytes, syntax: str = o.EXPLICIT) -> tuple[dict[str, Any], set[str]]:
    found: set[str] = set()
    return to_json(parse(BytesSource(o.meta(syntax) + elements)).dataset, found), found


def value(tag: int, vr: str, raw: bytes) -> Any:
    return encoded(o.explicit(tag, vr, raw))[0][f"{tag:08X}"]


@pytest.mark.parametrize(
    ("vr", "raw", "expected"),
    [
        ("CS", b"CT", ["CT"]),
        ("CS", b"ORIGINAL\\PRIMARY ", ["ORIGINAL", "PRIMARY"]),
        ("UI", b"1.2.3\0", ["1.2.3"]),
        ("LO", b" head ", [" head"]),
        ("LO", b"a\\\\c ", ["a", None, "c"]),
        ("LT", b"a\\b  ", ["a\\b"]),
        ("UT", b"one line\r\nand another ", ["one line\r\nand another"]),
        ("IS", b"12\\-3 ", [12, -3]),
        ("IS", b"12.5", ["12.5"]),
        ("IS", b"1_0 ", ["1_0"]),
        ("DS", b"0.68359375\\1e3\\-7 ", [0.68359375, 1000, -7]),
        ("DS", b"nan\\inf \\x ", ["nan", "inf", "x"]),
        ("DS", b"1.5\\\\2", [1.5, None, 2]),
        ("PN", b"Doe^Jane", [{"Alphabetic": "Doe^Jane"}]),
        ("PN", b"Doe^Jane==x ", [{"Alphabetic": "Doe^Jane", "Phonetic": "x"}]),
        ("PN", b"Doe\\Roe ", [{"Alphabetic": "Doe"}, {"Alphabetic": "Roe"}]),
        ("LO", b"head\0left over", ["head"]),
        ("UI", b"1.2\0x\\3.4\0", ["1.2", "3.4"]),
        ("ST", b"a\0b ", ["a"]),
        ("PN", b"Doe\0x=y\0", [{"Alphabetic": "Doe", "Ideographic": "y"}]),
        ("IS", b"12\0x", [12]),
        ("DS", b"9" * 5000, ["9" * 5000]),  # more digits than Python reads
        ("IS", b"9" * 4000, ["9" * 4000]),  # more than a float or a column holds
        ("AT", bytes.fromhex("1000 2000 e07f 1000"), ["00100020", "7FE00010"]),
        ("US", struct.pack("<2H", 1, 65535), [1, 65535]),
        ("SS", struct.pack("<h", -1), [-1]),
        ("UL", struct.pack("<L", 2**32 - 1), [2**32 - 1]),
        ("SV", struct.pack("<q", -(2**63)), [-(2**63)]),
        ("FD", struct.pack("<d", 0.1), [0.1]),
        ("FD", struct.pack("<3d", math.nan, math.inf, -math.inf), ["NaN", "inf", "-inf"]),
        ("FL", struct.pack("<f", 0.5), [0.5]),
    ],
)
def test_values(vr: str, raw: bytes, expected: list[Any]) -> None:
    assert value(0x00111001, vr, raw) == {"vr": vr, "Value": expected}


@pytest.mark.parametrize("vr", ["LO", "PN", "DS", "IS", "CS", "UI", "US", "OB", "SQ", "UN", "AT", "UT"])
def test_an_empty_value_has_only_its_vr(vr: str) -> None:
    assert value(0x00111001, vr, b"") == {"vr": vr}


@pytest.mark.parametrize(("vr", "raw"), [("LO", b"  "), ("DS", b"\\ "), ("PN", b"==\\^"[:2]), ("UI", b"\0\0")])
def test_a_blank_value_is_empty(vr: str, raw: bytes) -> None:
    assert value(0x00111001, vr, raw) == {"vr": vr}


def test_a_value_that_does_not_fit_its_vr_is_binary() -> None:
    metadata, found = encoded(o.explicit(0x00111001, "FD", b"abc "))
    assert metadata["00111001"] == {"vr": "UN", "InlineBinary": "YWJjIA=="}
    assert found == {notes.UNREADABLE_VALUE}


def test_binary_values_go_inline_up_to_a_size() -> None:
    assert value(0x00111001, "OB", b"abc ")["InlineBinary"] == "YWJjIA=="
    assert "InlineBinary" in value(0x00111001, "OW", bytes(INLINE_MAX_BYTES))
    assert value(0x00111001, "OW", bytes(INLINE_MAX_BYTES + 2)) == {"vr": "OW", "BulkDataURI": "bulkdata/00111001"}


def test_pixel_data_is_always_elsewhere() -> None:
    assert value(0x7FE00010, "OW", b"ab") == {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"}


def test_binary_values_are_little_endian_whatever_the_file_is() -> None:
    metadata, _ = encoded(o.explicit(0x00281201, "OW", b"\1\2\3\4", order=">"), o.BIG_ENDIAN)
    assert metadata["00281201"]["InlineBinary"] == "AgEEAw=="
    assert swap_words(b"abcdefghi", 8) == b"hgfedcbai"


def test_what_describes_the_file_is_left_out() -> None:
    metadata, _ = encoded(
        o.explicit(0x00080000, "UL", bytes(4)) + o.identifiers() + o.explicit(0xFFFCFFFC, "OB", bytes(4))
    )
    assert sorted(metadata) == ["00080016", "00080018", "00100010", "0020000D", "0020000E"]


def test_sequences() -> None:
    metadata, _ = encoded(o.explicit(0x00081140, "SQ", o.item(o.text(0x00081155, "UI", "1.2")) + o.item()))
    assert metadata["00081140"] == {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]}


def test_text_says_that_it_is_unicode() -> None:
    metadata, found = encoded(
        o.text(0x00080005, "CS", "ISO_IR 100") + o.explicit(0x00100010, "PN", b"Buc^J\xe9r\xf4me ")
    )
    assert metadata["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Buc^Jérôme"}]
    assert not found


def test_text_that_does_not_fit_its_character_set_is_kept() -> None:
    metadata, found = encoded(o.text(0x00080005, "CS", "ISO_IR 192") + o.explicit(0x00100010, "PN", b"J\xe9r\xf4me  "))
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Jérôme"}]
    assert found == {notes.WRONG_CHARACTER_SET}


def test_an_item_may_have_its_own_character_set() -> None:
    inner = o.text(0x00080005, "CS", "ISO_IR 192") + o.explicit(0x00081080, "LO", "é".encode())
    metadata, _ = encoded(o.text(0x00080005, "CS", "ISO_IR 100") + o.explicit(0x00081140, "SQ", o.item(inner)))
    assert metadata["00081140"]["Value"][0]["00081080"]["Value"] == ["é"]


# -- against pydicom -----------------------------------------------------------------------


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Check two renderings of one data set.

    pydicom writes an empty value as "" where PS3.18 F.2.5 wants null or no "Value", keeps
    blanks that PS3.5 section 6.2 calls insignificant, keeps Specific Character Set although
    the text is Unicode by then, and leaves out what it cannot parse.
    """
    for key, attribute in ours.items():
        if "BulkDataURI" in attribute or key == "00080005" or (key not in theirs and key in UNPARSED):
            continue
        other = theirs[key]
        assert attribute.get("InlineBinary") == other.get("InlineBinary"), key
        values, others = values_of(attribute), values_of(other)
        assert len(values) == len(others), key
        for one, two in zip(values, others, strict=True):
            if attribute["vr"] == "SQ":
                agree(one, two)
            else:
                assert one == two, key


#: Number of Frames "1A" in badVR.dcm; UIDs with leading zeros, or longer than they may be, also inside items.
UNPARSED = {"00280008", "300C0002", "0040A730", "00200052"}


def values_of(attribute: dict[str, Any]) -> list[Any]:
    if attribute["vr"] == "SQ":
        return list(attribute.get("Value", []))
    values = [plain(value) for value in attribute.get("Value", [])]
    return values if any(value is not None for value in values) else []


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {label: group.strip() for label, group in value.items() if group.strip()} or None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("nan", "NaN")
    return (value.strip() or None) if isinstance(value, str) else value


def oracle(path: Path) -> dict[str, Any] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            return dict(dataset.to_json_dict(bulk_data_threshold=10**9, suppress_invalid_tags=True))
        except Exception:  # noqa: BLE001 - broken on purpose
            return None


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_metadata_is_what_pydicom_says(path: Path) -> None:
    expected = oracle(path)
    if expected is None or path.name in {"MR_truncated.dcm", "rtplan_truncated.dcm", "no_meta.dcm"}:
        return
    with FileSource(path) as source:
        metadata = to_json(parse(source).dataset, set())
    json.dumps(metadata, allow_nan=False)
    agree(metadata, expected)


@pytest.mark.data
def test_metadata_of_the_zoo_is_what_pydicom_says(data_dir: Path) -> None:
    for path in objects_of(data_dir / "zoo"):
        if "BigEndianExplicit" in path.name:
            continue  # numbers sent as UN are little endian (PS3.5 section 6.2.2); pydicom swaps them
        with FileSource(path) as source:
            try:
                metadata = to_json(parse(source).dataset, set())
            except MalformedDICOM:
                continue
        expected = oracle(path)
        assert expected is not None
        agree(metadata, expected)
