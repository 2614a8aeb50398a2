"""A frame can be a target if its samples give its exact bytes back; it is read once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearframe.delta.frame import Frame, bytes_of, can_rebuild
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.encoders import ENCODERS
from nearframe.errors import IntegrityError, MalformedRequest
from tests.frame_samples import htj2k, jpeg_ls, packaged_samples
from tests.unit.delta.held import Store, describe, picture
from tests.unit.delta.test_jxl import GREY, stored


def test_it_is_read_and_decoded_once() -> None:
    store, reads = Store(), []

    def read(enc: bytes) -> bytes:
        reads.append(enc)
        return store.read(enc)

    form = store.native(picture())
    frame = Frame(form, read)
    for _ in range(3):
        assert frame.target_samples is frame.samples
    assert reads == [form.enc]


def test_store_that_gives_another_length_is_an_integrity_error() -> None:
    store = Store()
    form = store.native(picture())
    with pytest.raises(IntegrityError):
        Frame(replace(form, length=form.length - 1), store.read).encoded  # noqa: B018


def test_every_packaged_frame_is_rebuilt_exactly_or_is_no_target() -> None:
    rebuilt = 0
    for sample in packaged_samples():
        store = Store()
        frame = store.frame(store.put(sample.encoded, sample.pixel, sample.transfer_syntax_uid))
        if frame.target_samples is not None:
            assert bytes_of(frame.target_samples, frame.form) == sample.encoded, sample.name
            rebuilt += 1
    assert rebuilt >= 15


def test_stream_of_another_encoder_is_a_base_and_no_target() -> None:
    store = Store()
    samples = picture()
    other = store.frame(store.put(htj2k(samples) + b"\0", describe(samples), ts.HTJ2KLosslessRPCL))
    assert other.samples is not None
    assert other.target_samples is None
    near = store.frame(store.put(jpeg_ls(samples, near=2), describe(samples), ts.JPEGLSNearLossless))
    assert near.samples is None


@pytest.mark.parametrize("syntax", [ts.RLELossless, ts.HTJ2KLosslessRPCL, ts.JPEGLSLossless, ts.JPEGLosslessSV1])
def test_stream_of_our_encoder_is_a_target(syntax: str) -> None:
    store = Store()
    samples = picture()
    frame = store.frame(store.put(ENCODERS[syntax](samples, describe(samples)), describe(samples), syntax))
    assert frame.target_samples is not None


def test_lossy_frames_have_no_samples() -> None:
    store = Store()
    frame = store.frame(stored(store, GREY))
    assert frame.samples is None
    assert not can_rebuild(frame.form)
    with pytest.raises(MalformedRequest):
        bytes_of(GREY, frame.form)


def test_native_frame_of_another_length_is_no_target() -> None:
    store = Store()
    encoded = picture().tobytes()
    for data in (encoded + b"\0\0", encoded[:-2], b""):
        assert store.frame(store.put(data, describe(picture()))).target_samples is None
