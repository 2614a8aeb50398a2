from __future__ import annotations

import numpy as np
import pytest

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.perceptual.candidates import MIN_QUALITY, SAME_PICTURE_DISTANCE
from nearframe.perceptual.phash import HASH_BYTES, PerceptualHash, hash_encoded_frame, hash_frame
from tests.frame_samples import grey, packaged
from tests.unit.perceptual.pictures import CT, PIXEL, SIZE, ct_slice


def distance(a: PerceptualHash, b: PerceptualHash) -> int:
    return (int.from_bytes(a.bits) ^ int.from_bytes(b.bits)).bit_count()


def test_half_of_the_bits_are_set() -> None:
    hashed = hash_frame(ct_slice(1), PIXEL, CT)
    assert len(hashed.bits) == HASH_BYTES
    assert int.from_bytes(hashed.bits).bit_count() == 128


def test_size_and_noise_hardly_matter() -> None:
    picture = ct_slice(1)
    original = hash_frame(picture, PIXEL, CT)
    half = picture.reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3)).astype(np.uint16)
    assert distance(original, hash_frame(half, grey(SIZE // 2, SIZE // 2), CT)) <= 6
    noisy = np.clip(picture + np.random.default_rng(2).normal(0, 10, picture.shape), 0, 4095).astype(np.uint16)
    assert distance(original, hash_frame(noisy, PIXEL, CT)) <= 6


def test_eight_bit_copy_is_the_same_picture() -> None:
    picture = ct_slice(1)
    shown = np.clip((picture - 864.0) / 400 * 255, 0, 255).astype(np.uint8)
    copy = hash_frame(shown, grey(SIZE, SIZE, bits_allocated=8, bits_stored=8), RenderParameters(modality="SC"))
    assert distance(hash_frame(picture, PIXEL, CT), copy) <= SAME_PICTURE_DISTANCE


def test_other_pictures_are_far_away() -> None:
    hashes = [hash_frame(ct_slice(seed), PIXEL, CT) for seed in range(6)]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 60


def test_featureless_frames_have_no_quality() -> None:
    flat = hash_frame(np.full((SIZE, SIZE), 1064, np.uint16), PIXEL, CT)
    assert flat.quality == 0
    assert hash_frame(ct_slice(1), PIXEL, CT).quality > MIN_QUALITY


@pytest.mark.parametrize("name", ["CT_small.dcm", "examples_ybr_color.dcm", "examples_palette.dcm", "MR_small_RLE.dcm"])
def test_frames_of_pydicom_can_be_hashed(name: str) -> None:
    sample = packaged(name)
    parameters = RenderParameters.from_metadata(sample.dataset.to_json_dict(suppress_invalid_tags=True))
    hashed = hash_encoded_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel, parameters)
    assert hashed.quality >= MIN_QUALITY


def test_transfer_syntax_does_not_matter() -> None:
    picture = ct_slice(1)
    native = hash_encoded_frame(picture.tobytes(), ts.ExplicitVRLittleEndian, PIXEL, CT)
    assert native == hash_encoded_frame(picture.astype(">u2").tobytes(), ts.ExplicitVRBigEndian, PIXEL, CT)
