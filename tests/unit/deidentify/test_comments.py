"""What stands beside the samples in compressed frames."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from nearframe.deidentify.comments import without_comments

PICTURE = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
SECRET = b"Doe^Jane was here"


def jpeg() -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    Image.fromarray(PICTURE).save(out, "JPEG", comment=SECRET, exif=exif, quality=95)
    return out.getvalue()


def jpeg_2000() -> bytes:
    stream = imagecodecs.jpeg2k_encode(PICTURE, level=0, codecformat="j2k")
    at = stream.index(b"\xff\x52")  # COD: comments may stand before it
    comment = b"\xff\x64" + (4 + len(SECRET)).to_bytes(2, "big") + b"\0\1" + SECRET
    return bytes(stream[:at] + comment + stream[at:])


@pytest.mark.parametrize("make", [jpeg, jpeg_2000])
def test_comments_are_blanked_and_the_picture_is_the_same(make: type[object]) -> None:
    frame = make()
    assert isinstance(frame, bytes)
    assert SECRET in frame
    out = without_comments(frame)
    assert SECRET not in out
    assert len(out) == len(frame)
    decode = imagecodecs.jpeg_decode if make is jpeg else imagecodecs.jpeg2k_decode
    assert np.array_equal(decode(out), decode(frame))


def test_boxes_before_a_jpeg_2000_stream_go() -> None:
    frame = b"\0\0\0\x20xml " + SECRET.ljust(24) + jpeg_2000()
    assert SECRET not in without_comments(frame)


def test_what_is_cut_short_loses_what_came() -> None:
    frame = jpeg()
    cut = frame[: frame.index(SECRET) + len(SECRET) + 40]
    assert SECRET not in without_comments(cut)


@pytest.mark.parametrize("frame", [b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51", bytes(100)])
def test_others_stay(frame: bytes) -> None:
    assert without_comments(frame) == frame
