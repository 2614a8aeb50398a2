"""JPEG streams packed by JPEG XL come back byte for byte; other streams are refused before they are decoded."""

from __future__ import annotations

import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from nearframe.delta import jxl, jxlsize
from nearframe.delta.apply import make
from nearframe.delta.frame import FrameForm
from nearframe.delta.jxlsize import picture_size
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe
from tests.frame_samples import packaged
from tests.unit.delta.held import Store, describe, picture, rgb


def jpeg(samples: Samples, level: int = 85) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, level=level))


def stored(store: Store, samples: Samples, tail: bytes = b"") -> FrameForm:
    return store.put(jpeg(samples) + tail, describe(samples), ts.JPEGBaseline8Bit)


GREY = (picture(rows=200, columns=264) >> 4).astype("u1")


@pytest.mark.parametrize("samples", [GREY, rgb(rows=200, columns=264), GREY[:, :200], GREY[:96, :72], GREY[:1, :7]])
@pytest.mark.parametrize("tail", [b"", b"\0", b"rest of an old buffer"])
def test_round_trip(samples: Samples, tail: bytes) -> None:
    store = Store()
    target = stored(store, samples, tail)
    recipe = jxl.encode(store.frame(target))
    assert recipe is not None
    assert make(recipe, target, ()) == store.read(target.enc)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm", "JPGExtended.dcm"])
def test_packaged_files(name: str) -> None:
    sample = packaged(name)
    store = Store()
    target = store.put(sample.encoded, sample.pixel, sample.transfer_syntax_uid)
    recipe = jxl.encode(store.frame(target))
    if recipe is not None:
        assert make(recipe, target, ()) == sample.encoded
    assert (recipe is None) == (sample.pixel.bits_stored > 8)


def test_lossless_jpeg_and_what_is_no_jpeg_are_left_alone() -> None:
    store = Store()
    assert jxl.encode(store.frame(store.put(jpeg(GREY), describe(GREY), ts.JPEGLosslessSV1))) is None
    for junk in (b"", b"\xff\xd9", b"no JPEG at all", jpeg(GREY)[:300]):
        assert jxl.encode(store.frame(store.put(junk, describe(GREY), ts.JPEGBaseline8Bit))) is None


def _packed() -> tuple[Store, FrameForm, FrameRecipe]:
    store = Store()
    target = stored(store, GREY)
    recipe = jxl.encode(store.frame(target))
    assert recipe is not None
    return store, target, recipe


def test_picture_size_is_compared_before_the_decoder_runs() -> None:
    _, target, recipe = _packed()
    pixel = target.pixel
    assert isinstance(pixel, PixelDescription)
    for other in (replace(pixel, rows=pixel.rows + 1), replace(pixel, columns=pixel.columns - 1), None):
        with pytest.raises(MalformedRequest, match=r"picture"):
            make(recipe, replace(target, pixel=other), ())


def test_result_may_not_be_longer_than_the_frame() -> None:
    _, target, recipe = _packed()
    with pytest.raises(MalformedRequest, match="no JPEG of this length"):
        make(recipe, replace(target, length=target.length - 1), ())


@pytest.mark.parametrize(
    "payload",
    [
        b"x",
        bytes.fromhex("ff0a") + bytes(40),
        jxlsize._SIGNATURE,
        jxlsize._SIGNATURE + struct.pack(">I4s", 40, b"brob") + bytes(32),
        jxlsize._SIGNATURE + struct.pack(">I4s", 8, b"jbrd") * 100,
        jxlsize._SIGNATURE + struct.pack(">I4s", 0, b"jxlc") + b"not a codestream",
        jxlsize._SIGNATURE + struct.pack(">I4sQ", 1, b"ftyp", 1 << 60),
    ],
)
def test_odd_containers_are_refused(payload: bytes) -> None:
    _, target, recipe = _packed()
    with pytest.raises(MalformedRequest):
        make(replace(recipe, payload=payload), target, ())


@pytest.mark.parametrize("tail", [-1, 10**9])
def test_tail_out_of_bounds_is_refused(tail: int) -> None:
    _, target, recipe = _packed()
    with pytest.raises(MalformedRequest, match="bytes follow"):
        make(replace(recipe, parameters=(tail,)), target, ())


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (256, 256), (16, 24), (1536, 2048), (480, 640), (1000, 30)])
def test_size_header_is_read_as_the_encoder_writes_it(rows: int, columns: int) -> None:
    packed = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg(np.zeros((rows, columns), "u1"))))
    assert picture_size(packed) == (rows, columns)
