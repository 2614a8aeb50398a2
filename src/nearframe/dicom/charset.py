"""Text of the character sets of DICOM (PS3.3 C.12.1.1.2, PS3.5 section 6.1).

One `CharacterSet` decodes and encodes the text of a data set. Bytes that do not fit what
Specific Character Set promises are read as UTF-8, else in another set that it names, else as
Latin-1, which always succeeds: a name that looks odd can be corrected, one that is lost cannot.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import Final

DEFAULT: Final = "ascii"
#: The defined term of the set that has every character.
UTF_8: Final = "ISO_IR 192"

#: Defined term, without the words ISO_IR and ISO 2022 IR, -> Python codec.
_CODEC: Final[dict[str, str]] = {
    "": DEFAULT,
    "6": DEFAULT,
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "iso8859_11",
    "192": "utf_8",
    "203": "iso8859_15",
    "GB18030": "gb18030",
    "GBK": "gb18030",  # of which GBK is a part
}

#: Escape sequence (PS3.3 Tables C.12-3 and C.12-4) -> Python codec of what follows.
_ESCAPES: Final[dict[bytes, str]] = {
    b"\x1b(B": DEFAULT,
    b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "iso8859_11",
    b"\x1b-b": "iso8859_15",
    b"\x1b(J": "shift_jis",
    b"\x1b)I": "shift_jis",
    b"\x1b$B": "iso2022_jp",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "gb2312",
    b"\x1b$)C": "euc_kr",
}

#: Two-byte sets invoked in G0: their bytes look like ASCII, delimiters included, and the codec wants the escape.
_TWO_BYTES_IN_G0: Final = frozenset({b"\x1b$B", b"\x1b$(D"})

_ESCAPE = re.compile(rb"(\x1b(?:\$[()][A-D]|\$B|[-()][A-Za-z]))")

#: PS3.5 section 6.1.2.5.3: the initial character set is active again after these.
_DELIMITER = re.compile(rb"[\\^=\t\n\f\r]")
_DELIMITER_IN_TEXT = re.compile(r"([\\^=\t\n\f\r])")

#: What stands before a run in another than the first set. The codecs of two bytes in G0 write theirs themselves, and
#: the one back to ASCII; for JIS X 0201 it is that of its katakana, in G1.
_ESCAPE_TO: Final = {codec: escape for escape, codec in _ESCAPES.items() if not codec.startswith("iso2022")} | {
    "shift_jis": b"\x1b)I"
}


class CharacterSet:
    """The character sets one value of Specific Character Set names.

    `misfits` counts values that did not fit; whoever decodes reports it.
    """

    __slots__ = ("_codec", "_extensions", "misfits")

    def __init__(self, terms: tuple[str, ...]) -> None:
        codecs = [_CODEC.get(_short_name(term)) for term in terms or ("",)]
        self.misfits = sum(codec is None for codec in codecs)
        self._codec = codecs[0] or DEFAULT
        self._extensions = tuple(codec for codec in codecs[1:] if codec is not None)

    def decode(self, value: bytes) -> str:
        """Return the text of a value."""
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        try:
            return self._read(value)
        except UnicodeDecodeError:
            self.misfits += 1
            return self._decode_unfit(value)

    def encode(self, text: str) -> bytes:
        """Return the bytes of a text, with escape sequences where another than the first set is needed.

        Raises
        ------
        UnicodeError
            If none of the sets has a character of it.
        """
        if text.isascii():
            return text.encode("ascii")
        encoded = b"".join(map(self._encode_run, _DELIMITER_IN_TEXT.split(text)))
        if self._read(encoded) != text:
            raise UnicodeError("the character set has other characters")
        return encoded

    def _read(self, value: bytes) -> str:
        return self._decode_escaped(value) if b"\x1b" in value else value.decode(self._codec)

    def _encode_run(self, run: str) -> bytes:
        for codec, escape in ((self._codec, b""), *((codec, _ESCAPE_TO.get(codec, b"")) for codec in self._extensions)):
            with suppress(UnicodeEncodeError):
                encoded = run.encode(codec)
                # Of JIS X 0201 Python knows no codec without the two-byte characters of its neighbour.
                if codec != "shift_jis" or len(encoded) == len(run):
                    # Where that is the first set, it is what there is to go back to.
                    return escape + (encoded.replace(b"\x1b(B", b"\x1b(J") if self._codec == "shift_jis" else encoded)
        raise UnicodeError("the character set has not this character")

    def _decode_unfit(self, value: bytes) -> str:
        for codec in ("utf_8", *self._extensions):  # some writers, pydicom among them, leave escape sequences out
            with suppress(UnicodeDecodeError):
                return value.decode(codec)
        return value.decode("latin_1")

    def _decode_escaped(self, value: bytes) -> str:
        """Decode ISO 2022 text: each escape sequence chooses the set of what follows it."""
        first, *rest = _ESCAPE.split(value)
        text = [first.decode(self._codec)]
        for escape, run in zip(rest[::2], rest[1::2], strict=True):
            if escape in _TWO_BYTES_IN_G0:
                text.append((escape + run).decode(_ESCAPES[escape]))
            else:
                text.append(self._decode_run(run, _ESCAPES.get(escape, self._codec)))
        return "".join(text)

    def _decode_run(self, run: bytes, codec: str) -> str:
        delimiter = _DELIMITER.search(run)
        if delimiter is None:
            return run.decode(codec)
        head, tail = run[: delimiter.start()], run[delimiter.start() :]
        try:
            return head.decode(codec) + tail.decode(self._codec)
        except UnicodeDecodeError:
            return run.decode(codec)  # some writers do not repeat the escape behind a delimiter


def _short_name(term: str) -> str:
    name = term.strip().upper().replace("-", " ").replace("_", " ")
    for prefix in ("ISO 2022 IR", "ISO2022 IR", "ISO IR", "IR"):
        name = name.removeprefix(prefix)
    return name.strip()


@lru_cache(maxsize=256)
def _terms(value: bytes) -> tuple[str, ...]:
    return tuple(value.decode("latin_1").strip("\0 ").split("\\"))


def character_set(value: bytes) -> CharacterSet:
    """Return the character set for a raw value of Specific Character Set (0008,0005)."""
    return CharacterSet(_terms(value))
