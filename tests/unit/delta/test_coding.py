"""Samples come back exactly, by whichever codec; the line decides which."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard

from nearframe.delta import coding as coding_module
from nearframe.delta.coding import Coding, decode_samples, described, encode_samples, inflate
from nearframe.delta.jxlsamples import decode_jpeg_xl, encode_jpeg_xl
from nearframe.delta.rates import Rates
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.errors import LimitExceeded, MalformedDICOM, MalformedRequest
from tests.unit.delta.held import SLOW, picture, rgb


def form(samples: Samples) -> PixelDescription:
    colours = samples.shape[2] if samples.ndim == 3 else 1
    photometric = "RGB" if colours == 3 else "MONOCHROME2"
    return described(samples.shape[0], samples.shape[1], colours, 8 * samples.itemsize, photometric)


NOISE = np.random.default_rng(1).integers(0, 65536, (33, 47)).astype("<u2")


@pytest.mark.parametrize("samples", [picture(), rgb(), NOISE, NOISE[:1, :1], np.zeros((200, 200), "u1")])
@pytest.mark.parametrize("rates", [SLOW, Rates.of_megabits(200), Rates.of_megabits(10, cores=2)])
def test_round_trip(samples: Samples, rates: Rates) -> None:
    coding, data = encode_samples(samples, form(samples), rates)
    assert np.array_equal(decode_samples(coding, data, form(samples)), samples)


def test_what_is_nearly_empty_takes_a_few_bytes() -> None:
    samples = np.zeros((300, 300), "<u2")
    samples[100, 100] = 7
    coding, data = encode_samples(samples, form(samples), SLOW)
    assert coding in (Coding.ZSTD, Coding.JPEG_LS)
    assert len(data) < 80


def test_fast_line_takes_the_codec_that_decodes_fast() -> None:
    samples = picture(rows=300, columns=300)
    chosen = [encode_samples(samples, form(samples), Rates.of_megabits(rate))[0] for rate in (5, 500)]
    assert chosen == [Coding.JPEG_LS, Coding.HTJ2K]


def test_slow_line_takes_the_shortest_whatever_the_work() -> None:
    samples = picture(rows=300, columns=300, noise=3)
    chosen = [encode_samples(samples, form(samples), Rates.of_megabits(rate, cores=1))[0] for rate in (5, 80, 1000)]
    assert chosen == [Coding.JPEG_XL, Coding.JPEG_LS, Coding.HTJ2K]


def test_jpeg_xl_of_other_samples_is_refused() -> None:
    samples = picture(rows=300, columns=300)
    data = encode_jpeg_xl(samples, form(samples))
    assert np.array_equal(decode_jpeg_xl(data, form(samples)), samples)
    for other in (rgb(), samples.astype("u1"), samples[:299]):
        with pytest.raises(MalformedRequest, match="JPEG XL"):
            decode_jpeg_xl(encode_jpeg_xl(np.ascontiguousarray(other), form(other)), form(samples))
    with pytest.raises(MalformedRequest, match="cannot be decoded"):
        decode_jpeg_xl(data[: len(data) // 2], form(samples))


def test_progressive_is_htj2k_whatever_the_size() -> None:
    samples = np.zeros((300, 300), "<u2")
    assert encode_samples(samples, form(samples), SLOW, progressive=True)[0] is Coding.HTJ2K


@pytest.mark.parametrize("refusing", ["encode_htj2k", "encode_jpeg_ls"])
def test_codec_that_does_not_take_a_picture_is_done_without(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(samples: Samples, pixel: PixelDescription) -> bytes:
        raise RuntimeError("too wide")

    monkeypatch.setattr(coding_module, refusing, refuse)
    samples = picture(rows=300, columns=300)
    coding, data = encode_samples(samples, form(samples), SLOW)
    assert np.array_equal(decode_samples(coding, data, form(samples)), samples)


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (1, 1), (65504, 32), (2, 2)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    samples = np.random.default_rng(1).integers(0, 50, shape).astype("u1")
    coding, data = encode_samples(samples, form(samples), SLOW)
    assert np.array_equal(decode_samples(coding, data, form(samples)), samples)


@pytest.mark.parametrize("coding", [-1, 4, 1 << 60])
def test_unknown_coding_is_named(coding: int) -> None:
    with pytest.raises(MalformedRequest, match="coding"):
        decode_samples(coding, b"", form(picture()))


@pytest.mark.parametrize("coding", list(Coding))
def test_other_shape_is_refused(coding: Coding) -> None:
    _, data = encode_samples(picture(), form(picture()), SLOW, progressive=True)
    with pytest.raises((MalformedRequest, MalformedDICOM)):
        decode_samples(coding, data, form(picture(rows=95)))
    with pytest.raises(LimitExceeded):
        decode_samples(coding, data, described(1 << 16, 1 << 16, 1, 16, "MONOCHROME2"))


@pytest.mark.parametrize("data", [b"", b"junk", zstandard.ZstdCompressor().compress(bytes(9))])
def test_inflate_gives_the_expected_length_or_nothing(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        inflate(data, 8)
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(8))
    with pytest.raises(MalformedRequest):
        inflate(unknown, 8)
    assert inflate(zstandard.ZstdCompressor().compress(bytes(8)), 8) == bytes(8)
