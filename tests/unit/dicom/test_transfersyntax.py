from __future__ import annotations

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.transfersyntax import Codec, Loss

# Not image transfer syntaxes: mail and XML encodings, and SMPTE streams that are never stored.
NEVER_STORED = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")


def registered() -> list[tuple[str, str]]:
    return [
        (uid, entry[4])
        for uid, entry in UID_dictionary.items()
        if entry[1] == "Transfer Syntax" and not uid.startswith(NEVER_STORED)
    ]


@pytest.mark.parametrize(("uid", "keyword"), registered())
def test_table_names_every_registered_syntax(uid: str, keyword: str) -> None:
    assert ts.BY_UID[uid].keyword == keyword


# pydicom takes JPIP for encapsulated, though its pixels are elsewhere, and Papyrus for explicit VR.
OWN_OPINION = ("JPIP", "Papyrus")


@pytest.mark.parametrize("uid", [uid for uid, keyword in registered() if not keyword.startswith(OWN_OPINION)])
def test_encoding_agrees_with_pydicom(uid: str) -> None:
    syntax, known = ts.transfer_syntax(uid), UID(uid)
    assert syntax.implicit_vr == known.is_implicit_VR
    assert syntax.deflated == known.is_deflated
    assert syntax.big_endian == (not known.is_little_endian)
    assert syntax.encapsulated == known.is_encapsulated


def test_constants_are_in_the_table() -> None:
    for name, value in vars(ts).items():
        if isinstance(value, str) and value.startswith("1.2."):
            assert ts.BY_UID[value].keyword == name


@pytest.mark.parametrize(
    ("media_type", "default", "others"),
    [
        ("image/jpeg", ts.JPEGLosslessSV1, {ts.JPEGBaseline8Bit, ts.JPEGExtended12Bit, ts.JPEGLossless}),
        ("image/jls", ts.JPEGLSLossless, {ts.JPEGLSNearLossless}),
        ("image/jp2", ts.JPEG2000Lossless, {ts.JPEG2000}),
        ("image/jpx", ts.JPEG2000MCLossless, {ts.JPEG2000MC}),
        ("image/jphc", ts.HTJ2KLossless, {ts.HTJ2KLosslessRPCL, ts.HTJ2K}),
        ("image/jxl", ts.JPEGXLLossless, {ts.JPEGXLJPEGRecompression, ts.JPEGXL}),
        ("image/dicom-rle", ts.RLELossless, set()),
        ("IMAGE/X-JLS; q=0.5", ts.JPEGLSLossless, {ts.JPEGLSNearLossless}),
        ("application/octet-stream", ts.ExplicitVRLittleEndian, set()),
        ("video/mpeg2", "1.2.840.10008.1.2.4.100", {"1.2.840.10008.1.2.4.101"}),
    ],
)
def test_media_types_carry_their_syntaxes(media_type: str, default: str, others: set[str]) -> None:
    assert ts.default_syntax_of(media_type) == default
    assert {default} | others <= set(ts.syntaxes_of(media_type))


def test_media_type_without_pixel_data_carries_none() -> None:
    assert ts.syntaxes_of("text/html") == ()
    assert ts.default_syntax_of("text/html") is None


def test_media_type_of_a_syntax() -> None:
    assert ts.media_type_of(ts.HTJ2KLosslessRPCL) == "image/jphc"
    assert ts.media_type_of(ts.ImplicitVRLittleEndian) == ts.OCTET_STREAM


def test_unknown_syntax_is_kept_and_not_decoded() -> None:
    syntax = ts.transfer_syntax("1.2.3.4")
    assert syntax.codec is Codec.OTHER
    assert syntax.loss is Loss.EITHER
    assert not syntax.is_decodable
    assert not ts.transfer_syntax("1.2.840.10008.1.2.4.102").is_decodable
    assert ts.transfer_syntax("1.2.840.10008.1.2.4.102").is_video
