"""Multipart bodies in tests: put together as clients do, taken apart as viewers do."""

from __future__ import annotations

from collections.abc import Iterable

from nearframe.wire import multipart
from nearframe.wire.mediatype import parse_media_type
from nearframe.wire.multipart import MAX_WRITTEN_HEADER_BYTES


def store_body(files: Iterable[bytes]) -> tuple[str, bytes]:
    """Return Content-Type and body of one STOW-RS request."""
    boundary = "boundary-of-a-test"
    parts = [multipart.part_head(boundary, "application/dicom", first=i == 0) + f for i, f in enumerate(files)]
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return content_type, b"".join(parts) + multipart.closing(boundary)


def split_parts(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """Return head and payload of each part, by boundary and blank line, as Cornerstone finds them."""
    boundary = parse_media_type(content_type).parameters["boundary"].encode()
    assert body.startswith(b"--" + boundary + b"\r\nContent-Type: ")
    assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
    parts = []
    for part in body.removesuffix(b"--\r\n").split(b"--" + boundary)[1:-1]:
        head, _, payload = part.partition(b"\r\n\r\n")
        assert len(head) < MAX_WRITTEN_HEADER_BYTES
        parts.append((head.decode().strip(), payload.removesuffix(b"\r\n")))
    return parts
