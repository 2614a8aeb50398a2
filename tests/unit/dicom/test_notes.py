"""Every code that may be noted has words for people."""

from __future__ import annotations

from nearframe.dicom import notes


def test_every_note_has_a_meaning() -> None:
    codes = {value for name, value in vars(notes).items() if name.isupper() and isinstance(value, str)}
    assert codes == set(notes.MEANING)


def test_codes_are_short_words() -> None:
    assert all(code.replace("_", "").isalpha() and code.islower() for code in notes.MEANING)


def test_most_frequent_first() -> None:
    found = notes.summarise([(notes.VIDEO,), (), (notes.NO_PREAMBLE, "of_a_newer_release"), (notes.NO_PREAMBLE,)])
    assert found == [
        (notes.NO_PREAMBLE, "the 128-byte preamble is missing", 2),
        ("of_a_newer_release", "of_a_newer_release", 1),
        (notes.VIDEO, notes.MEANING[notes.VIDEO], 1),
    ]
