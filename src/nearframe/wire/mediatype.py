"""Media types and the header fields made of them (RFC 9110 section 8.3.1), read tolerantly.

Real clients leave values unquoted that contain ``/`` (``type=application/dicom``), quote
what needs none, repeat parameters and end lists with a comma. All of it is read; the
first of a repeated parameter counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nearframe.errors import MalformedRequest

#: A header longer than this is refused before it is split; OHIF's longest Accept has 640.
MAX_FIELD_CHARS = 4096

#: ``"..."`` with backslash escapes, or anything up to the separator.
_VALUE = r'"(?:[^"\\]|\\.)*"|[^;,"]*'
_PARAMETER = re.compile(rf"\s*([^=;,\s]+)\s*(?:=\s*({_VALUE})\s*)?")
_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type or range and its parameters; names in lower case, values as written."""

    essence: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """Return a parameter's value, or None."""
        return self.parameters.get(name)

    def matches(self, essence: str) -> bool:
        """Return True if this type, which may be a range such as ``image/*``, covers `essence`."""
        if self.essence in ("*/*", essence):
            return True
        return self.essence.endswith("/*") and essence.startswith(self.essence[:-1])

    def __str__(self) -> str:
        return "; ".join([self.essence, *(f"{name}={_quoted(value)}" for name, value in self.parameters.items())])


def parse_media_type(text: str) -> MediaType:
    """Read the value of a Content-Type header.

    Raises
    ------
    MalformedRequest
        If it does not begin with ``type/subtype``, or is too long.
    """
    for media_type in parse_media_types(text):
        return media_type
    raise MalformedRequest("a media type is written type/subtype")


def parse_media_types(text: str) -> list[MediaType]:
    """Read a list of media types, as in Accept; members that are none are left out.

    Raises
    ------
    MalformedRequest
        If the text is too long to be split in bounded time.
    """
    if len(text) > MAX_FIELD_CHARS:
        raise MalformedRequest(f"a list of media types has at most {MAX_FIELD_CHARS} characters")
    return [parsed for member in split_list(text) if (parsed := _parse_member(member)) is not None]


def split_list(text: str, separator: str = ",") -> Iterator[str]:
    """Yield the members of a header list, without empty ones; separators in quotes do not count."""
    start, quoted, escaped = 0, False, False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == separator and not quoted:
            if member := text[start:at].strip():
                yield member
            start = at + 1
    if member := text[start:].strip():
        yield member


def unquote(value: str) -> str:
    """Return a parameter's value without its quotes and escapes."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _parse_member(member: str) -> MediaType | None:
    essence, _, rest = member.partition(";")
    essence = essence.strip()
    # dicomweb-client sends "image/" for "image/*".
    essence = essence + "*" if essence.endswith("/") else essence
    if _TYPE.fullmatch(essence) is None:
        return None
    parameters: dict[str, str] = {}
    for parameter in split_list(rest, ";"):
        match = _PARAMETER.match(parameter)
        if match is not None:
            parameters.setdefault(match[1].lower(), unquote(match[2] or ""))
    return MediaType(essence.lower(), parameters)


def _quoted(value: str) -> str:
    if _TOKEN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
