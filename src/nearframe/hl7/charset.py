"""The character sets of HL7 (MSH-18, HL7 table 0211), and which of them are read."""

from __future__ import annotations

from typing import Final

from nearframe.errors import UnacceptableMessage

#: Name in MSH-18 -> Python codec. All of them have ASCII in its place, so that a header can be read before it is known.
CODECS: Final = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "UNICODE UTF-8": "utf_8",
    "ISO IR6": "ascii",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
}
#: Written by systems that do not keep to the table.
_ALIASES: Final = {
    "UTF-8": "UNICODE UTF-8",
    "UTF8": "UNICODE UTF-8",
    "UNICODE": "UNICODE UTF-8",
    "US-ASCII": "ASCII",
    **{f"ISO-8859-{part}": f"8859/{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    **{f"ISO 8859-{part}": f"8859/{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
#: Where neither the message nor the settings name one. ASCII, the default of the standard, is a part of it.
DEFAULT: Final = "UNICODE UTF-8"


def codec_of(name: str) -> str:
    """Return the Python codec of a character set, by its name in MSH-18.

    Raises
    ------
    UnacceptableMessage
        If it is not one that is read.
    """
    known = name.strip().upper()
    codec = CODECS.get(_ALIASES.get(known, known))
    if codec is None:
        raise UnacceptableMessage(103, f"the character set is none of {', '.join(CODECS)}", "MSH", 18)
    return codec


def decode(data: bytes, name: str) -> str:
    """Return the text of a message.

    A name that was read in a wrong set would be written into images, so nothing is guessed.

    Raises
    ------
    UnacceptableMessage
        If the set is not known, or the bytes are not of it.
    """
    codec = codec_of(name)
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise UnacceptableMessage(
            102,
            f"byte {error.start} is none of the character set {name}: name the right one in MSH-18, or as "
            "hl7_character_set for messages that name none",
            "MSH",
            18,
        ) from error
