"""Every Accept form that real viewers were seen to send, and what they get."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest, NotAcceptable
from nearframe.wire.accept import AcceptRange, Offer, negotiate, parse_accept

ELE, J2K, JLS, JLS_LOSSY, JPEG, HTJ2K = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.202",
)
OCTETS = "application/octet-stream"


def encoded(essence: str, syntax: str) -> Offer:
    return Offer(essence, syntax, also=(OCTETS,))


NATIVE = Offer(OCTETS, ELE, is_default=True)
#: A frame stored as JPEG 2000, rendered as HTJ2K, decodable, and encodable to JPEG-LS.
FRAME = [encoded("image/jphc", HTJ2K), encoded("image/jp2", J2K), NATIVE, encoded("image/jls", JLS)]
#: A lossy JPEG: as stored, or decoded.
LOSSY = [encoded("image/jpeg", JPEG), NATIVE]

MULTI, SINGLE = True, False

OHIF_TILE = ", ".join(
    [
        f'multipart/related; type="image/jls"; transfer-syntax={JLS}',
        f'multipart/related; type="image/jls"; transfer-syntax={JLS_LOSSY}',
        f'multipart/related; type="image/jp2"; transfer-syntax={J2K}',
        'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.91',
        'multipart/related; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.92',
        'multipart/related; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.93',
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}',
    ]
)

FRAME_FORMS = [
    # OHIF 3.13 and Cornerstone
    ("multipart/related; type=application/octet-stream; transfer-syntax=*", MULTI, OCTETS, HTJ2K),
    ('multipart/related; type="application/octet-stream"; transfer-syntax=*', MULTI, OCTETS, HTJ2K),
    ('multipart/related; transfer-syntax="*"; type="application/octet-stream"', MULTI, OCTETS, HTJ2K),
    (f"multipart/related; type=image/jls; transfer-syntax={JLS}", MULTI, "image/jls", JLS),
    ("multipart/related; type=image/jls; q=1,multipart/related; type=application/octet-stream; q=0.1",
     MULTI, "image/jls", JLS),
    ("multipart/related; type=image/jls; q=0.1,multipart/related; type=application/octet-stream; q=1",
     MULTI, OCTETS, ELE),
    (OHIF_TILE, MULTI, OCTETS, HTJ2K),
    # merged values (OHIF #3990)
    ("application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*",
     MULTI, OCTETS, HTJ2K),
    # dicomweb-client for Python
    ('multipart/related; type="*/*"', MULTI, "image/jphc", HTJ2K),
    (f'multipart/related; type="image/jp2"; transfer-syntax={J2K}', MULTI, "image/jp2", J2K),
    (f'multipart/related; type="application/octet-stream"; transfer-syntax={ELE}', MULTI, OCTETS, ELE),
    ('multipart/related; type="image/*"', MULTI, "image/jphc", HTJ2K),
    ('multipart/related; type="image/"', MULTI, "image/jphc", HTJ2K),
    # the standard's default
    ('multipart/related; type="application/octet-stream"', MULTI, OCTETS, ELE),
    ("multipart/related;type=application/octet-stream", MULTI, OCTETS, ELE),
    # single part
    ("application/octet-stream; transfer-syntax=*", SINGLE, OCTETS, HTJ2K),
    ("application/octet-stream", SINGLE, OCTETS, ELE),
    (f"application/octet-stream; transfer-syntax={J2K}", SINGLE, OCTETS, J2K),
    ("image/jphc", SINGLE, "image/jphc", HTJ2K),
    ("image/jls, */*;q=0.1", SINGLE, "image/jls", JLS),
    ("image/*", SINGLE, "image/jphc", HTJ2K),
    # whatever
    ("*/*", MULTI, OCTETS, ELE),
    (None, MULTI, OCTETS, ELE),
    ("  ", MULTI, OCTETS, ELE),
    ("text/html, */*;q=0.5", MULTI, OCTETS, ELE),
    # refusals
    ("image/jphc;q=0, image/*", SINGLE, "image/jp2", J2K),
    ("multipart/related; type=IMAGE/JLS", MULTI, "image/jls", JLS),
    ("multipart/related", MULTI, "image/jphc", HTJ2K),
]  # fmt: skip


@pytest.mark.parametrize(("header", "multipart", "essence", "syntax"), FRAME_FORMS)
def test_frames(header: str | None, multipart: bool, essence: str, syntax: str) -> None:
    chosen = negotiate(parse_accept(header), FRAME, anything=NATIVE, multipart=True)
    assert (chosen.multipart, chosen.essence, chosen.offer.transfer_syntax) == (multipart, essence, syntax)
    assert chosen.part_type == f"{essence}; transfer-syntax={syntax}"


LOSSY_FORMS = [
    (OHIF_TILE, MULTI, OCTETS, JPEG),
    ("multipart/related; type=application/octet-stream; transfer-syntax=*", MULTI, OCTETS, JPEG),
    ("multipart/related; type=application/octet-stream", MULTI, OCTETS, ELE),
    ('multipart/related; type="image/jpeg"', MULTI, "image/jpeg", JPEG),
]


@pytest.mark.parametrize(("header", "multipart", "essence", "syntax"), LOSSY_FORMS)
def test_lossy_frames_go_as_stored_or_decoded(header: str, multipart: bool, essence: str, syntax: str) -> None:
    chosen = negotiate(parse_accept(header), LOSSY, anything=NATIVE, multipart=True)
    assert (chosen.multipart, chosen.essence, chosen.offer.transfer_syntax) == (multipart, essence, syntax)


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "rubbish",
        "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.203",
        "multipart/related; type=video/mp4",
        "*/*;q=0",
        f"multipart/related; type=image/jls; transfer-syntax={J2K}",
    ],
)
def test_nothing_fits(header: str) -> None:
    with pytest.raises(NotAcceptable) as caught:
        negotiate(parse_accept(header), FRAME, anything=NATIVE)
    assert f"image/jp2; transfer-syntax={J2K}" in caught.value.available


JSON = Offer("application/dicom+json", also=("application/json",))
XML = Offer("application/dicom+xml")
DOCUMENT_FORMS = [
    ("application/dicom+json", SINGLE, "application/dicom+json"),
    ("application/json", SINGLE, "application/json"),
    ("application/dicom+json, application/json", SINGLE, "application/dicom+json"),
    ("application/json, application/dicom+json", SINGLE, "application/json"),
    ("*/*", SINGLE, "application/dicom+json"),
    ("application/*", SINGLE, "application/dicom+json"),
    ("application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*",
     SINGLE, "application/dicom+json"),
    ('multipart/related; type="application/dicom+xml"', MULTI, "application/dicom+xml"),
    ('multipart/related; type="application/dicom+xml", application/dicom+json;q=0.1', MULTI, "application/dicom+xml"),
    ("application/dicom+xml", SINGLE, "application/dicom+xml"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "multipart", "essence"), DOCUMENT_FORMS)
def test_metadata_and_searches(header: str, multipart: bool, essence: str) -> None:
    chosen = negotiate(parse_accept(header), [JSON, XML])
    assert (chosen.multipart, chosen.essence) == (multipart, essence)
    assert chosen.part_type == essence


STORED = Offer("application/dicom", J2K)
DECODED = Offer("application/dicom", ELE, is_default=True)
INSTANCE_FORMS = [
    ('multipart/related; type="application/dicom"; transfer-syntax=*', MULTI, J2K),
    ('multipart/related; type="application/dicom"', MULTI, ELE),
    ("multipart/related; type=application/dicom", MULTI, ELE),
    ("application/dicom", SINGLE, ELE),
    ("application/dicom; transfer-syntax=*", SINGLE, J2K),
    (f"application/dicom; transfer-syntax={J2K}", SINGLE, J2K),
    ("*/*", MULTI, ELE),
]


@pytest.mark.parametrize(("header", "multipart", "syntax"), INSTANCE_FORMS)
def test_instances(header: str, multipart: bool, syntax: str) -> None:
    chosen = negotiate(parse_accept(header), [STORED, DECODED], anything=DECODED, multipart=True)
    assert (chosen.multipart, chosen.offer.transfer_syntax) == (multipart, syntax)


PDF = [Offer("application/pdf", also=(OCTETS,))]
BULK_FORMS = [
    (
        'multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"',
        MULTI,
        "application/pdf",
    ),
    ('multipart/related; type="application/octet-stream"', MULTI, OCTETS),
    ("application/octet-stream", SINGLE, OCTETS),
    ('multipart/related; type="*/*"', MULTI, "application/pdf"),
    ("*/*", SINGLE, "application/pdf"),
    ("application/pdf", SINGLE, "application/pdf"),
]


@pytest.mark.parametrize(("header", "multipart", "essence"), BULK_FORMS)
def test_bulk_data(header: str, multipart: bool, essence: str) -> None:
    chosen = negotiate(parse_accept(header), PDF)
    assert (chosen.multipart, chosen.essence) == (multipart, essence)


def test_an_image_element_gets_a_picture() -> None:
    header = "image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    assert negotiate(parse_accept(header), [Offer("image/jpeg"), Offer("image/png")]).essence == "image/jpeg"


def test_the_accept_parameter_wins() -> None:
    junk = 'multipart/related; type="application/octet-stream"'
    assert parse_accept(junk, "image/jpeg") == (AcceptRange("image/jpeg"),)
    assert parse_accept(None, "application/dicom json") == (AcceptRange("application/dicom+json"),)


def test_weights_that_are_no_numbers_count_as_one() -> None:
    assert [r.q for r in parse_accept("a/b;q=x, c/d;q=7, e/f;q=-1, g/h;q=")] == [1, 1, 0, 1]


@given(st.text(alphabet=st.sampled_from(list('multipart/related;=,"*1. \\q')), max_size=120))
def test_any_header_gives_an_offer_or_a_clear_refusal(text: str) -> None:
    with contextlib.suppress(NotAcceptable, MalformedRequest):
        assert negotiate(parse_accept(text), FRAME, anything=NATIVE).offer in FRAME
