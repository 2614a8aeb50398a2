"""Headers that nobody should write and somebody does: an answer or one of our errors, never another."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.render import render
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.targets import targets
from nearframe.dicom.transcode import best_rendition, transcode
from nearframe.errors import NearframeError
from nearframe.perceptual.phash import hash_encoded_frame

SMALL = st.integers(0, 9)
DESCRIPTIONS = st.builds(
    PixelDescription,
    rows=SMALL,
    columns=SMALL,
    samples_per_pixel=st.sampled_from([0, 1, 2, 3, 4]),
    bits_allocated=st.sampled_from([0, 1, 7, 8, 12, 16, 24, 32, 64, 65535]),
    bits_stored=st.sampled_from([0, 1, 7, 8, 12, 16, 32, 65535]),
    high_bit=st.sampled_from([0, 7, 11, 15, 31, 65535]),
    pixel_representation=st.sampled_from([0, 1, 2, 65535]),
    photometric_interpretation=st.sampled_from(
        [
            "MONOCHROME1",
            "MONOCHROME2",
            "PALETTE COLOR",
            "RGB",
            "YBR_FULL",
            "YBR_FULL_422",
            "YBR_RCT",
            "HSV",
            "",
            "é" * 20,
        ]
    ),
    planar_configuration=st.integers(0, 2),
    vr=st.sampled_from(["OB", "OW", "OF", "OD"]),
    lossy=st.booleans(),
)
SYNTAXES = st.sampled_from(
    [
        ts.ExplicitVRLittleEndian,
        ts.ExplicitVRBigEndian,
        ts.RLELossless,
        ts.DeflatedImageFrameCompression,
        ts.JPEGBaseline8Bit,
        ts.HTJ2K,
        "1.2.3",
    ]
)
METADATA = st.dictionaries(
    st.sampled_from(["00280030", "00280120", "00281050", "00281051", "00281052", "00281053", "00281101", "00283010"]),
    st.fixed_dictionaries({"vr": st.just("DS"), "Value": st.lists(st.none() | st.integers() | st.text(max_size=3))}),
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=16).map(lambda seed: (seed or b"\0") * 200), SYNTAXES, DESCRIPTIONS, METADATA)
def test_any_header_and_any_bytes(frame: bytes, uid: str, pixel: PixelDescription, metadata: dict[str, object]) -> None:
    parameters = RenderParameters.from_metadata(metadata)
    with contextlib.suppress(NearframeError):
        pix_of_frame(frame, uid, pixel)
    with contextlib.suppress(NearframeError):
        render(frame, uid, pixel, parameters)
    with contextlib.suppress(NearframeError):
        hash_encoded_frame(frame, uid, pixel, parameters)
    with contextlib.suppress(NearframeError):
        best_rendition(frame, uid, pixel)
    for target in targets(uid, pixel):
        with contextlib.suppress(NearframeError):
            transcode(frame, uid, pixel, target)
