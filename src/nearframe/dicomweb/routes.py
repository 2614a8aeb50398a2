"""Every route, declared once: the application, the OpenAPI document and the capabilities follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nearframe.dicomweb.bulkdata import retrieve_bulkdata
from nearframe.dicomweb.commitment import check_commitment, request_commitment
from nearframe.dicomweb.endpoint import Endpoint, Parameter
from nearframe.dicomweb.frames import JSON, retrieve_frame_table, retrieve_frames
from nearframe.dicomweb.instances import retrieve_instances
from nearframe.dicomweb.metadata import retrieve_metadata
from nearframe.dicomweb.negotiation import DICOM_JSON, DICOM_XML, JPEG, PDF, PNG
from nearframe.dicomweb.remove import remove
from nearframe.dicomweb.rendered import retrieve_rendered, retrieve_thumbnail
from nearframe.dicomweb.search import search_instances, search_series, search_studies
from nearframe.dicomweb.services import Services
from nearframe.dicomweb.store import store_instances
from nearframe.dicomweb.wadouri import retrieve_by_query
from nearframe.wire.accept import DICOM, OCTET_STREAM

_STUDY: Final = "/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"
_LEVELS: Final = (("study", _STUDY), ("series", _SERIES), ("instance", _INSTANCE))

_DOCUMENTS: Final = (DICOM_JSON, "multipart/related; type=" + DICOM_XML)
_PICTURES: Final = (JPEG, PNG, "video/mp4", PDF)

_ACCEPT: Final = Parameter("accept", "string", "Media types accepted, in place of the Accept header.")
_FRAMES_ACCEPT: Final = Parameter("accept", "string", "The Accept header that frames would be asked for with.")
_VERSION: Final = Parameter("version", "integer", "A stored version of the instance, counted from 1.")
_AT: Final = Parameter("version", "integer", "The study or series as it was at this sequence of the change feed.")
_SEARCHING: Final = (
    Parameter("limit", "integer", "Most results returned; further ones are announced by a Warning header."),
    Parameter("offset", "integer", "Results skipped."),
    Parameter("includefield", "string", "Attributes to add: tags or keywords joined by commas, or all."),
    Parameter("fuzzymatching", "boolean", "Match names by words and sound."),
    _ACCEPT,
)
_RENDERING: Final = (
    Parameter("viewport", "string", "Width and height in pixels, optionally a source region: w,h,sx,sy,sw,sh."),
    Parameter("window", "string", "Centre, width and function (linear, linear-exact, sigmoid): c,w,f."),
    Parameter("quality", "integer", "Of a lossy picture, 1 to 100."),
    _ACCEPT,
)


def endpoints() -> Iterator[Endpoint[Services]]:
    """Yield the route table."""
    yield from _searches()
    yield from _retrievals()
    yield from _renderings()
    for name, path in (("", "/studies"), ("_in_study", _STUDY)):
        yield Endpoint(
            f"store{name}", "POST", path, store_instances,
            "Store instances; answered once they are durable.", (DICOM_JSON, DICOM_XML),
            (f"multipart/related; type={DICOM}", DICOM, f"multipart/related; type={DICOM_JSON}",
             f"multipart/related; type={DICOM_XML}"),
            standard="10.5",
        )  # fmt: skip
    yield from _commitments()
    for level, path in _LEVELS:
        yield Endpoint(f"remove_{level}", "DELETE", path, remove, f"Remove the {level} from view, where policy allows.")


def _commitments() -> Iterator[Endpoint[Services]]:
    path, answers = "/commitment-requests/{transaction}", (DICOM_JSON, DICOM_XML)
    yield Endpoint(
        "request_commitment", "POST", path, request_commitment,
        "Ask which objects are kept safe here; answered at once.", answers, (DICOM_JSON,), standard="13.4",
    )  # fmt: skip
    yield Endpoint(
        "check_commitment", "GET", path, check_commitment,
        "The answer to a request made before, as things are now.", answers, standard="13.5",
    )  # fmt: skip


def _searches() -> Iterator[Endpoint[Services]]:
    for name, path, handler in (
        ("studies", "/studies", search_studies),
        ("series", "/series", search_series),
        ("instances", "/instances", search_instances),
        ("series_of_study", _STUDY + "/series", search_series),
        ("instances_of_study", _STUDY + "/instances", search_instances),
        ("instances_of_series", _SERIES + "/instances", search_instances),
    ):
        prose = "Search by attributes, given as keywords or tags."
        yield Endpoint(f"search_{name}", "GET", path, handler, prose, _DOCUMENTS, (), _SEARCHING, "10.6")


def _retrievals() -> Iterator[Endpoint[Services]]:
    for level, path in _LEVELS:
        version = _VERSION if level == "instance" else _AT
        whole = (f"multipart/related; type={DICOM}", DICOM)
        prose = f"The Part 10 file of every instance of the {level}." if level != "instance" else "The Part 10 file."
        yield Endpoint(
            f"retrieve_{level}", "GET", path, retrieve_instances, prose, whole, (), (version, _ACCEPT), "10.4.1.1.1"
        )
        yield Endpoint(
            f"retrieve_{level}_metadata", "GET", path + "/metadata", retrieve_metadata,
            "Every attribute; large values by reference.", _DOCUMENTS, (), (version, _ACCEPT), "10.4.1.1.5",
        )  # fmt: skip
    octets = (f"multipart/related; type={OCTET_STREAM}", OCTET_STREAM, "image/*")
    yield Endpoint(
        "retrieve_frames", "GET", _INSTANCE + "/frames/{frames}", retrieve_frames,
        "Frames, by their numbers counted from 1 and joined by commas.", octets, (), (_VERSION, _ACCEPT), "10.4.1.1.2",
    )  # fmt: skip
    yield Endpoint(
        "retrieve_frame_table", "GET", _STUDY + "/frames", retrieve_frame_table,
        "Ours, not the standard's: the validator of every frame of the study, for one Accept header.",
        (JSON,), (), (_FRAMES_ACCEPT,),
    )  # fmt: skip
    yield Endpoint(
        "retrieve_bulkdata", "GET", _INSTANCE + "/bulkdata/{path:path}", retrieve_bulkdata,
        "A large value, at the address the metadata gives.", octets[:2], (), (_VERSION, _ACCEPT), "10.4.1.1.6",
    )  # fmt: skip
    yield Endpoint(
        "retrieve_by_query", "GET", "/wado", retrieve_by_query,
        "One object, named by query parameters (WADO-URI).", (DICOM, *_PICTURES), (),
        (
            Parameter("requestType", "string", "Always WADO.", required=True),
            Parameter("studyUID", "string", "Study Instance UID.", required=True),
            Parameter("seriesUID", "string", "Series Instance UID.", required=True),
            Parameter("objectUID", "string", "SOP Instance UID.", required=True),
            Parameter("contentType", "string", "Media types accepted, joined by commas."),
            Parameter("transferSyntax", "string", "Of an application/dicom answer."),
            Parameter("frameNumber", "integer", "Counted from 1."),
            Parameter("rows", "integer", "Largest height in pixels."),
            Parameter("columns", "integer", "Largest width in pixels."),
            Parameter("windowCenter", "number", "With windowWidth."),
            Parameter("windowWidth", "number", "With windowCenter."),
            Parameter("imageQuality", "integer", "1 to 100."),
        ),
        "9.4",
    )  # fmt: skip


def _renderings() -> Iterator[Endpoint[Services]]:
    frames = ("frames", _INSTANCE + "/frames/{frames}")
    for level, path in (*_LEVELS, frames):
        version = (_AT,) if level in ("study", "series") else (_VERSION,)
        yield Endpoint(
            f"retrieve_{level}_rendered", "GET", path + "/rendered", retrieve_rendered,
            "A picture, video or document as consumer software shows it.",
            _PICTURES, (), (*_RENDERING, *version), "10.4.1.1.3",
        )  # fmt: skip
        yield Endpoint(
            f"retrieve_{level}_thumbnail", "GET", path + "/thumbnail", retrieve_thumbnail,
            "A small representative picture.", (JPEG, PNG), (), (*_RENDERING[:1], _ACCEPT, *version), "10.4.1.1.4",
        )  # fmt: skip
