"""Native frames from their renditions, whole and at less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.dicom.j2kheader import complete_resolutions
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import decode_native
from nearframe.dicom.rebuild import decoded, is_rebuildable, rebuilt
from nearframe.dicom.transcode import to_htj2k
from nearframe.dicom.transfersyntax import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGLSLossless
from nearframe.errors import MalformedDICOM

CT = PixelDescription(64, 64, 1, 16, 12, 11, 0, "MONOCHROME2")


@settings(max_examples=12)
@given(
    st.sampled_from(
        [
            CT,
            replace(CT, pixel_representation=1),
            replace(CT, bits_allocated=8, bits_stored=8, high_bit=7),
            replace(CT, bits_stored=16, high_bit=15),
            replace(CT, samples_per_pixel=3, bits_allocated=8, bits_stored=8, photometric_interpretation="RGB"),
            replace(
                CT,
                samples_per_pixel=3,
                bits_allocated=8,
                bits_stored=8,
                photometric_interpretation="RGB",
                planar_configuration=1,
            ),
        ]
    ),
    st.integers(0, 2**32 - 1),
)
def test_every_bit_comes_back(pixel: PixelDescription, seed: int) -> None:
    """Also those above Bits Stored, where old overlays are: a rendition holds all of them."""
    native = np.random.default_rng(seed).bytes(pixel.native_frame_bits // 8)
    rendition = to_htj2k(decode_native(native, pixel, big_endian=False), pixel)
    assert rebuilt(rendition.encoded, pixel) == native


def test_the_beginning_of_a_rendition_is_the_picture_at_less() -> None:
    native = np.add.outer(np.arange(64), np.arange(64)).astype("<u2").tobytes()
    rendition = to_htj2k(decode_native(native, CT, big_endian=False), CT)
    for count, stop in enumerate(rendition.resolution_offsets, 1):
        for more in (0, 1):
            stream, halved = complete_resolutions(rendition.encoded[: stop + more])
            assert halved == len(rendition.resolution_offsets) - count
            assert decoded(stream, CT, skipped_resolutions=halved).shape == (64 >> halved, 64 >> halved)
    with pytest.raises(MalformedDICOM):
        complete_resolutions(rendition.encoded[: rendition.resolution_offsets[0] - 1])
    with pytest.raises(MalformedDICOM):
        complete_resolutions(b"")


@pytest.mark.parametrize(
    ("syntax", "pixel", "length", "possible"),
    [
        (ExplicitVRLittleEndian, CT, 8192, True),
        (ExplicitVRLittleEndian, CT, 8193, False),  # padded
        (ExplicitVRBigEndian, CT, 8192, False),
        (JPEGLSLossless, CT, 8192, False),
        (ExplicitVRLittleEndian, replace(CT, bits_allocated=32, bits_stored=32, high_bit=31), 16384, False),
        (ExplicitVRLittleEndian, replace(CT, bits_allocated=1, bits_stored=1, high_bit=0), 512, False),
    ],
)
def test_what_can_be_made_of_a_rendition(syntax: str, pixel: PixelDescription, length: int, possible: bool) -> None:
    assert is_rebuildable(syntax, pixel, length) is possible
