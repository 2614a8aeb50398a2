"""Taking multipart answers apart in tests, the way viewers do."""

from __future__ import annotations

from nearframe.wire.mediatype import parse_media_type
from nearframe.wire.multipart import MAX_WRITTEN_HEADER_BYTES


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
