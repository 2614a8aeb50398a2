from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from nearframe.dicom.openjph import decode_htj2k
from tests.frame_samples import htj2k

PICTURE = np.random.default_rng(8).integers(0, 4096, (96, 128), np.uint16)
STREAM = htj2k(PICTURE)


def find_damaged() -> bytes:
    """Return a stream whose headers are whole and of whose code blocks one cannot be decoded.

    Most flipped bits only give other samples; about one in four is noticed.
    """
    body = STREAM.rindex(b"\xff\x93") + 2
    for at in range(body, len(STREAM) - 2, 97):
        stream = STREAM[:at] + bytes((STREAM[at] ^ 0x40,)) + STREAM[at + 1 :]
        try:
            decode_htj2k(stream, skipped_resolutions=0)
        except RuntimeError:
            return stream
    raise AssertionError("no damage was noticed")


def test_whole_streams_decode() -> None:
    np.testing.assert_array_equal(decode_htj2k(STREAM, skipped_resolutions=0), PICTURE)


def test_damage_that_the_codec_keeps_to_itself_is_heard() -> None:
    with pytest.raises(RuntimeError):
        decode_htj2k(find_damaged(), skipped_resolutions=0)
    decode_htj2k(STREAM, skipped_resolutions=0)


def test_each_thread_hears_of_its_own() -> None:
    outcomes: list[str] = []

    def decode(stream: bytes) -> None:
        for _ in range(20):
            try:
                decode_htj2k(stream, skipped_resolutions=0)
            except RuntimeError:
                outcomes.append("failed")
            else:
                outcomes.append("decoded")

    threads = [threading.Thread(target=decode, args=(stream,)) for stream in (STREAM, find_damaged(), STREAM)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("decoded"), outcomes.count("failed")) == (40, 20)


def test_other_reports_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: heard.append(report.object))
    decode_htj2k(STREAM, skipped_resolutions=0)

    class Careless:
        def __del__(self) -> None:
            raise ValueError

    Careless()
    assert len(heard) == 1
