"""What a parsed object says of itself: identity, picture, metadata.

From the parsed elements alone, so it works on a header without its pieces as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nearframe.dicom import notes
from nearframe.dicom.attributes import attributes_of
from nearframe.dicom.bulk import PIXEL_DATA_TAGS
from nearframe.dicom.dicomjson import to_json
from nearframe.dicom.element import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, DataSet, Part10
from nearframe.dicom.model import DICOMJSON, Attributes, PixelDescription
from nearframe.dicom.transfersyntax import Loss, transfer_syntax
from nearframe.errors import MissingIdentifier
from nearframe.ids import Identity

_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SERIES_INSTANCE_UID: Final = 0x0020000E
_MEDIA_STORAGE_SOP_CLASS_UID: Final = 0x00020002

_SAMPLES_PER_PIXEL: Final = 0x00280002
_PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
_PLANAR_CONFIGURATION: Final = 0x00280006
_NUMBER_OF_FRAMES: Final = 0x00280008
_ROWS: Final = 0x00280010
_COLUMNS: Final = 0x00280011
_BITS_ALLOCATED: Final = 0x00280100
_BITS_STORED: Final = 0x00280101
_HIGH_BIT: Final = 0x00280102
_PIXEL_REPRESENTATION: Final = 0x00280103
_LOSSY_IMAGE_COMPRESSION: Final = 0x00282110

_FLOAT_BITS = {FLOAT_PIXEL_DATA: ("OF", 32), DOUBLE_FLOAT_PIXEL_DATA: ("OD", 64)}


@dataclass(frozen=True, slots=True)
class Description:
    """See `dicom.model.SplitInstance` for the fields."""

    identity: Identity
    transfer_syntax_uid: str
    pixel: PixelDescription | None
    metadata: DICOMJSON
    attributes: Attributes
    notes: tuple[str, ...]


def describe(part10: Part10) -> Description:
    """Describe a parsed object.

    Raises
    ------
    MissingIdentifier
        If it has no SOP Instance UID. A study or series UID that is missing is derived
        from what there is, so that the object can be stored and found.
    """
    found = set(part10.notes)
    dataset = part10.dataset
    identity = _identity(part10, found)
    pixel = _pixel(part10, found)
    metadata = _with_derived_uids(to_json(dataset, found), identity)
    if len(dataset.by_tag) < len(dataset.elements):
        found.add(notes.DUPLICATE_TAG)
    return Description(
        identity, part10.transfer_syntax_uid, pixel, metadata, attributes_of(metadata), tuple(sorted(found))
    )


def _identity(part10: Part10, found: set[str]) -> Identity:
    text = part10.dataset.text
    sop_instance_uid = text(_SOP_INSTANCE_UID)
    if not sop_instance_uid:
        raise MissingIdentifier("SOPInstanceUID")
    sop_class_uid = text(_SOP_CLASS_UID)
    if not sop_class_uid:
        found.add(notes.NO_SOP_CLASS_UID)
        sop_class_uid = part10.meta.text(_MEDIA_STORAGE_SOP_CLASS_UID)
    study_uid, series_uid = text(_STUDY_INSTANCE_UID), text(_SERIES_INSTANCE_UID)
    if not study_uid:
        found.add(notes.NO_STUDY_UID)
        study_uid = derived_uid("study", series_uid or sop_instance_uid)
    if not series_uid:
        found.add(notes.NO_SERIES_UID)
        series_uid = derived_uid("series", study_uid)
    return Identity(sop_class_uid, sop_instance_uid, series_uid, study_uid)


def _with_derived_uids(metadata: DICOMJSON, identity: Identity) -> DICOMJSON:
    wanted = {"0020000D": identity.study_instance_uid, "0020000E": identity.series_instance_uid}
    derived = {key: {"vr": "UI", "Value": [uid]} for key, uid in wanted.items() if "Value" not in metadata.get(key, ())}
    return dict(sorted({**metadata, **derived}.items())) if derived else metadata


def derived_uid(level: str, uid: str) -> str:
    """Return a UID below 2.25 (PS3.5 B.2) that depends on nothing but its arguments.

    Instances of one series without Study Instance UID come together in one study.
    """
    digest = hashlib.sha256(f"nearframe {level} of {uid}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _pixel(part10: Part10, found: set[str]) -> PixelDescription | None:
    dataset = part10.dataset
    element = next((e for tag in sorted(PIXEL_DATA_TAGS) if (e := dataset.by_tag.get(tag)) is not None), None)
    if element is None:
        return None
    number = dataset.number
    vr, float_bits = _FLOAT_BITS.get(element.tag, (element.vr, None))
    rows, columns = number(_ROWS), number(_COLUMNS)
    bits_allocated = number(_BITS_ALLOCATED) or float_bits
    if not rows or not columns or not bits_allocated:
        found.add(notes.NOT_A_PICTURE)
        return None
    syntax = transfer_syntax(part10.transfer_syntax_uid)
    bits_stored = number(_BITS_STORED) or bits_allocated
    high_bit = number(_HIGH_BIT)
    return PixelDescription(
        rows=rows,
        columns=columns,
        samples_per_pixel=number(_SAMPLES_PER_PIXEL) or 1,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else high_bit,
        pixel_representation=number(_PIXEL_REPRESENTATION) or 0,
        photometric_interpretation=dataset.text(_PHOTOMETRIC_INTERPRETATION) or "MONOCHROME2",
        planar_configuration=number(_PLANAR_CONFIGURATION) or 0,
        number_of_frames=_number_of_frames(dataset),
        vr=vr,
        lossy=dataset.text(_LOSSY_IMAGE_COMPRESSION) == "01" or syntax.loss is Loss.LOSSY,
    )


def _number_of_frames(dataset: DataSet) -> int:
    # Some writers send 0, or nothing, for a single frame.
    text = dataset.text(_NUMBER_OF_FRAMES).split("\\")[0].strip()
    return max(1, int(text)) if text.isdigit() and len(text) < 10 else 1
