"""Text as searches compare it: one normalisation, done here and in no database.

Person names match without regard to case, accents or trailing separators (PS3.4 section
C.2.2.2.1 leaves that to us); so do descriptions. Identifiers and codes match exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

GRAM: Final = 3
MAX_TEXT: Final = 1024  # LO has 64 characters, PN 3 x 64; some writers send more, none needs this

_BLANKS = re.compile(r"\s+")
_WORD = re.compile(r"\w+")
_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?")

_DATETIME = re.compile(r"(\d{4}(?:\d{2}){0,5})(?:\.(\d{1,6}))?([+-]\d{4})?")
_FIRST: Final = "00000101000000"
_LAST: Final = "99991231235959"

# American Soundex: what sounds alike has the same digit; vowels separate, h and w do not.
_SOUNDS: Final = {
    letter: digit
    for digit, letters in {"1": "bfpv", "2": "cgjkqsxz", "3": "dt", "4": "l", "5": "mn", "6": "r"}.items()
    for letter in letters
}


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """Return `text` without case, accents and superfluous blanks."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text[:MAX_TEXT]).casefold())
    # Voicing marks of kana tell words apart and are kept, composed again.
    plain = "".join(c for c in decomposed if not unicodedata.combining(c) or c in "\u3099\u309a")
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", plain))[:MAX_TEXT].strip()


def fold_name(name: str) -> str:
    """Return one component group of a person name, folded, without trailing empty components."""
    return "^".join(part.strip() for part in fold(name).split("^")).rstrip("^")


def name_groups(value: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """Return the alphabetic, ideographic and phonetic group of a DICOM JSON person name, folded."""
    groups = value or {}
    alphabetic, ideographic, phonetic = (
        fold_name(str(groups.get(group) or "")) for group in ("Alphabetic", "Ideographic", "Phonetic")
    )
    return alphabetic, ideographic, phonetic


def words(folded: str) -> list[str]:
    """Return the words of a folded text."""
    return _WORD.findall(folded)


def sound(word: str) -> str | None:
    """Return the Soundex code of a folded word, or None where it has no Latin letters to go by."""
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return None
    code = word[0]
    last = _SOUNDS.get(word[0], "")
    for letter in word[1:]:
        digit = _SOUNDS.get(letter, "")
        if digit and digit != last:
            code += digit
        if letter not in "hw":
            last = digit
    return code[:4].ljust(4, "0")


def grams(folded: str) -> set[str]:
    """Return every run of three characters in a folded text."""
    return {folded[i : i + GRAM] for i in range(len(folded) - GRAM + 1)}


def plain_date(value: str) -> str:
    """Return a date as ``YYYYMMDD``, also from the form with dots (ACR-NEMA); empty if it is none."""
    match = _DATE.fullmatch(value.strip())
    return "".join(match.groups()) if match else ""


def plain_time(value: str, fill: str = "0") -> str:
    """Return a time as ``HHMMSS.FFFFFF``, missing parts as their first (or, `fill` "9", last) instant."""
    match = _TIME.fullmatch(value.strip())
    if match is None:
        return ""
    hours, minutes, seconds, fraction = match.groups()
    last = "59" if fill == "9" else "00"
    return f"{hours}{minutes or last}{seconds or last}.{(fraction or '').ljust(6, fill)}"


def plain_datetime(value: str, fill: str = "0") -> str:
    """Return a VR DT as ``YYYYMMDDHHMMSS.FFFFFF``, in UTC if it has an offset; missing parts as in `plain_time`."""
    match = _DATETIME.fullmatch(value.strip())
    if match is None:
        return ""
    digits, fraction, offset = match.groups()
    digits += (_LAST if fill == "9" else _FIRST)[len(digits) :]
    plain = f"{digits}.{(fraction or '').ljust(6, fill)}"
    return plain if offset is None else _in_utc(plain, offset)


def _in_utc(plain: str, offset: str) -> str:
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    try:
        local = datetime.strptime(plain, "%Y%m%d%H%M%S.%f").replace(tzinfo=UTC)
        return (local - timedelta(minutes=minutes if offset[0] == "+" else -minutes)).strftime("%Y%m%d%H%M%S.%f")
    except (ValueError, OverflowError):
        return ""


def name_index(groups: tuple[str, str, str]) -> str:
    """Return the words of folded name groups, and after ``~`` their sounds, each between blanks.

    A fuzzy search looks for ``" mil"`` (a word's beginning) or ``" ~m460 "`` in it.
    """
    parts = dict.fromkeys(word for group in groups for word in words(group))
    sounds = dict.fromkeys(f"~{code}" for word in parts if (code := sound(word)) is not None)
    return " " + "".join(f"{part} " for part in (*parts, *sounds))
