"""How a frame is made from frames that the receiver holds: an operation, its bases, numbers, bytes.

The layout; every number is a varint, parameters are signed ones (`wire/varint.py`)::

    u8      version, 1
    u8      operation
    varint  number of bases, then 32 bytes each: their `enc`
    varint  number of parameters, then the parameters
    varint  bytes of the payload, then the payload; nothing follows

A recipe says how bytes come about, never that they are right: whoever applies it compares
the digest of the result with the one it asked for. What the parameters mean is said by the
modules of `nearframe.delta`, and in ``docs/reference/recipes.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest
from nearframe.wire.varint import get_signed, get_varint, put_signed, put_varint

VERSION = 1

#: A 5 mm slice is made of at most a dozen thin ones; more bases are more bytes to read per frame.
MAX_BASES = 16
#: `lincomb` has most: five, and a weight for each base.
MAX_PARAMETERS = 32


class Operation(IntEnum):
    """What is done. The numbers travel: never renumber."""

    PLAIN = 0
    SAME = 1
    LUT = 2
    BOX = 3
    TILES = 4
    LINCOMB = 5
    RESIDUAL = 6
    SPLICE = 7
    JXL = 8
    CODED = 9


@dataclass(frozen=True, slots=True)
class FrameRecipe:
    """One recipe.

    Attributes
    ----------
    bases
        `enc` of the frames it is made from, in the order the operation wants.
    parameters
        Whole numbers of at most 64 bits.
    """

    operation: Operation
    bases: tuple[Digest, ...] = ()
    parameters: tuple[int, ...] = ()
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the recipe as bytes."""
        return b"".join((self._head(), self.payload))

    @property
    def size(self) -> int:
        """Bytes that `encode` gives."""
        return len(self._head()) + len(self.payload)

    def _head(self) -> bytes:
        out = bytearray((VERSION, self.operation))
        put_varint(out, len(self.bases))
        for base in self.bases:
            out += base
        put_varint(out, len(self.parameters))
        for parameter in self.parameters:
            put_signed(out, parameter)
        put_varint(out, len(self.payload))
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> FrameRecipe:
        """Read a recipe. Takes no more memory than `data` has, whatever it says.

        Raises
        ------
        MalformedRequest
            If `data` is no recipe, or one of a version or operation that is not known here.
        LimitExceeded
            If it names more bases or parameters than any operation has.
        """
        if len(data) < 2:
            raise MalformedRequest("a recipe has a version and an operation")
        if data[0] != VERSION:
            raise MalformedRequest(f"recipe of version {data[0]}; this release reads version {VERSION}")
        operation = _operation(data[1])
        count, at = get_varint(data, 2)
        if count > MAX_BASES:
            raise LimitExceeded("number of bases of a recipe", MAX_BASES, count)
        end = at + count * DIGEST_BYTES
        if end > len(data):
            raise MalformedRequest("the recipe ends inside a base's digest")
        bases = tuple(data[start : start + DIGEST_BYTES] for start in range(at, end, DIGEST_BYTES))
        parameters, at = _parameters(data, end)
        length, at = get_varint(data, at)
        if length != len(data) - at:
            raise MalformedRequest(f"the recipe has {len(data) - at} bytes of payload and says {length}")
        return cls(operation, bases, parameters, data[at:])


def _operation(number: int) -> Operation:
    try:
        return Operation(number)
    except ValueError:
        raise MalformedRequest(f"recipe with operation {number}, which this release does not know") from None


def _parameters(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
    count, at = get_varint(data, at)
    if count > MAX_PARAMETERS:
        raise LimitExceeded("number of parameters of a recipe", MAX_PARAMETERS, count)
    parameters = []
    for _ in range(count):
        value, at = get_signed(data, at)
        if not -(1 << 63) <= value < 1 << 63:
            raise MalformedRequest("a parameter of the recipe has more than 64 bits")
        parameters.append(value)
    return tuple(parameters), at
