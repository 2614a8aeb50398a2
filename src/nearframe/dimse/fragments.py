"""A message becomes PDUs: its command, then its data set, in fragments that the peer takes (PS3.8 Annex E)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Final, TypeAlias

from nearframe.dimse.pdu import PDV_HEADER_BYTES, write_data_header
from nearframe.units import KIB

Buffer: TypeAlias = bytes | bytearray | memoryview

#: Of a P-DATA-TF of ours where the peer takes larger ones: more saves nothing.
_LARGEST_PDU: Final = 128 * KIB


async def data_pdus(
    context_id: int, command: bytes, data: Buffer | AsyncIterable[Buffer] | None, max_pdu_bytes: int
) -> AsyncIterator[tuple[Buffer, Buffer]]:
    """Yield header and fragment of each PDU of a message. Fragments are of even length, as PS3.8 Annex E has them.

    Parameters
    ----------
    data
        Its data set, in chunks of any length.
    max_pdu_bytes
        The largest body that the peer takes; 0 for any.
    """
    most = (min(max_pdu_bytes or _LARGEST_PDU, _LARGEST_PDU) - PDV_HEADER_BYTES) & ~1
    for pdu in _pdus(context_id, command, most, is_command=True, ends=True):
        yield pdu
    if data is None:
        return
    if isinstance(data, Buffer):
        for pdu in _pdus(context_id, data, most, is_command=False, ends=True):
            yield pdu
        return
    held: Buffer = b""  # the last chunk is known by there being no other
    async for chunk in data:
        even = len(held) & ~1
        if even:
            for pdu in _pdus(context_id, memoryview(held)[:even], most, is_command=False, ends=False):
                yield pdu
        held = bytes(held[even:]) + chunk if even < len(held) else chunk
    for pdu in _pdus(context_id, held, most, is_command=False, ends=True):
        yield pdu


def _pdus(context_id: int, data: Buffer, most: int, *, is_command: bool, ends: bool) -> Iterator[tuple[Buffer, Buffer]]:
    view = memoryview(data)
    for at in range(0, len(view) or 1, most):
        part = view[at : at + most]
        is_last = ends and at + most >= len(view)
        yield write_data_header(context_id, len(part), is_command=is_command, is_last=is_last), part
