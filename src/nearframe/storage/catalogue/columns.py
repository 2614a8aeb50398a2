"""Values and states as rows: which attribute stands in which search column."""

from __future__ import annotations

from typing import Any, Final

from nearframe.dicom.levels import COMPUTED
from nearframe.dicom.model import DICOMJSON
from nearframe.storage.catalogue import attributes as read
from nearframe.storage.catalogue.answers import StudyCounts, series_answer, study_answer
from nearframe.storage.catalogue.attributes import dump
from nearframe.storage.catalogue.states import SeriesState, StudyState
from nearframe.storage.catalogue.text import fold, name_index, plain_date, plain_time
from nearframe.storage.catalogue.values import microseconds, pack_bulk, pack_metadata, pack_pieces, pack_pixel
from nearframe.storage.ports import NewVersion

#: What an instance row shows of a version; all of it when there is none in view.
NOTHING_CURRENT: Final[dict[str, Any]] = {
    "series_id": None,
    "current_id": None,
    "instance_number": None,
    "sop_class_uid": "",
    "answer": b"",
}


def version_columns(new: NewVersion) -> dict[str, Any]:
    """Return the columns of a version that do not depend on where and when it is recorded."""
    return {
        "instance_number": read.integer(new.metadata, "00200013"),
        "sop_class_uid": new.identity.sop_class_uid,
        "transfer_syntax_uid": new.transfer_syntax_uid,
        "hdr": new.hdr,
        "header_bytes": new.header_bytes,
        "file": new.file,
        "file_bytes": new.file_bytes,
        "received_at": microseconds(new.received_at),
        "source": new.source,
        "notes": " ".join(new.notes),
        "pixel": pack_pixel(new.pixel),
        "pieces": pack_pieces(new.pieces, len(new.frames)),
        "bulk": pack_bulk(new.bulk),
        "frames": new.frames.encode(),
        "metadata": pack_metadata(dump(new.metadata)),
    }


def study_columns(study: StudyState, counts: StudyCounts) -> dict[str, Any]:
    """Return the row of a study as it is now, without what stands there already."""
    moving = {
        "id": study.id,
        "seq": study.seq,
        "listed": counts.instances > 0,
        "source_version_id": study.source_id,
        "series_count": counts.series,
        "instance_count": counts.instances,
        "answer": study_answer(study.attributes, study.uid, counts),
    }
    if not study.is_new and not study.is_other:
        return moving
    return moving | {"tenant": study.tenant, "study_instance_uid": study.uid} | _study_attributes(study.attributes)


def _study_attributes(found: DICOMJSON) -> dict[str, Any]:
    name, referring = read.name(found, "00100010"), read.name(found, "00080090")
    return {
        "issuer_of_patient_id": read.string(found, "00100021"),
        "patient_id": read.string(found, "00100020"),
        "patient_birth_date": plain_date(read.string(found, "00100030")),
        "patient_sex": read.string(found, "00100040"),
        "study_date": plain_date(read.string(found, "00080020")),
        "study_time": plain_time(read.string(found, "00080030")),
        "accession_number": read.string(found, "00080050"),
        "study_id": read.string(found, "00200010"),
        "patient_name": name[0],
        "patient_name_ideographic": name[1],
        "patient_name_phonetic": name[2],
        "patient_name_index": name_index(name),
        "referring_physician_name": referring[0],
        "referring_physician_name_ideographic": referring[1],
        "referring_physician_name_phonetic": referring[2],
        "referring_physician_name_index": name_index(referring),
        "study_description": fold(read.string(found, "00081030")),
        "attributes": dump(found),
    }


def series_columns(series: SeriesState) -> dict[str, Any]:
    """Return the row of a series as it is now, without what stands there already."""
    moving = {
        "id": series.id,
        "seq": series.seq,
        "listed": series.instance_count > 0,
        "source_version_id": series.source_id,
        "instance_count": series.instance_count,
        "sop_classes": dump(series.sop_classes),
        "answer": series_answer(series.attributes, series.study.uid, series.uid, series.instance_count),
    }
    if not series.is_new and not series.is_other:
        return moving
    of = {"tenant": series.study.tenant, "study_id": series.study.id, "series_instance_uid": series.uid}
    return moving | of | _series_attributes(series.attributes)


def _series_attributes(found: DICOMJSON) -> dict[str, Any]:
    return {
        "series_number": read.integer(found, "00200011"),
        "modality": read.string(found, "00080060"),
        "series_date": plain_date(read.string(found, "00080021")),
        "series_time": plain_time(read.string(found, "00080031")),
        "body_part_examined": read.string(found, "00180015"),
        "step_start_date": plain_date(read.string(found, "00400244")),
        "step_start_time": plain_time(read.string(found, "00400245")),
        "series_description": fold(read.string(found, "0008103E")),
        "attributes": dump(found),
    }


def own(attributes: DICOMJSON) -> DICOMJSON:
    """Return `attributes` without those that the archive computes: an object's own are not believed."""
    return {tag: value for tag, value in attributes.items() if tag not in COMPUTED}
