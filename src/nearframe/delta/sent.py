"""A frame on its way to a node that has not heard of it: what it is, and the recipe that makes it.

A node that is offered instances knows digests alone. Layout::

    varint  bytes of the description, then that: JSON of its length, transfer syntax and pixels
    the recipe, up to the end (`wire.framerecipe`)

What the description says is believed no more than the recipe: the digest of the result is compared.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any, Final

from nearframe.delta.frame import FrameForm
from nearframe.dicom.model import PixelDescription
from nearframe.errors import MalformedRequest
from nearframe.ids import Digest
from nearframe.wire.framerecipe import FrameRecipe
from nearframe.wire.varint import get_varint, put_varint

_MAX_DESCRIPTION_BYTES: Final = 4096
_MOST: Final = 1 << 31
_PIXEL: Final = {
    field.name: {"int": int, "str": str, "bool": bool}[str(field.type)] for field in fields(PixelDescription)
}


def encode_sent(form: FrameForm, recipe: FrameRecipe) -> bytes:
    """Return a frame as it is sent; raises `ValueError` if it is no picture."""
    if form.pixel is None:
        raise ValueError("what is no picture has no recipe")
    described = {"length": form.length, "syntax": form.transfer_syntax_uid, "pixel": asdict(form.pixel)}
    description = json.dumps(described, separators=(",", ":")).encode()
    out = bytearray()
    put_varint(out, len(description))
    return bytes(out) + description + recipe.encode()


def decode_sent(enc: Digest, data: bytes) -> tuple[FrameForm, FrameRecipe]:
    """Read what `encode_sent` wrote.

    Raises
    ------
    MalformedRequest, LimitExceeded
        If it is anything else.
    """
    length, at = get_varint(data, 0)
    if length > min(_MAX_DESCRIPTION_BYTES, len(data) - at):
        raise MalformedRequest("the description of a frame that is sent as a recipe is cut, or too long")
    try:
        described = json.loads(data[at : at + length])
        form = FrameForm(enc, _number(described["length"]), _text(described["syntax"]), _pixel(described["pixel"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MalformedRequest("a frame that is sent as a recipe is not described") from error
    return form, FrameRecipe.decode(data[at + length :])


def _pixel(described: dict[str, Any]) -> PixelDescription:
    for name, value in described.items():
        if type(value) is not _PIXEL[name]:
            raise TypeError(f"{name} is of another type")
        if type(value) is int:
            _number(value)
    return PixelDescription(**described)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError("a natural number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value
