"""What was taken in here, on its way to an upstream: offers, and the contents that it lacks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import zstandard

from nearframe.context import Urgency
from nearframe.edge.turns import Direction, User
from nearframe.edge.upstream.exchange import TENANT_HEADER, Exchanges, raise_for_status
from nearframe.edge.upstream.paths import path_of
from nearframe.errors import MalformedRequest, UpstreamError
from nearframe.ids import Digest, parse_digest
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.wire import contentstream
from nearframe.wire.document import MAX_DOCUMENT_BYTES, load_json
from nearframe.wire.offer import Offer, OfferAnswer, encode_offer, read_answer

_LEVEL: Final = 9  # of compression: a header of a series costs some 100 bytes


class Sending(Exchanges):
    """Offers what was taken in, and sends it."""

    async def offer(self, study: StudyRef, offered: Offer, urgency: Urgency) -> OfferAnswer:
        """Offer instances of a study; what is complete upstream is recorded by that.

        Raises
        ------
        UpstreamError
            If it cannot be asked, or takes nothing in.
        """
        body = encode_offer(offered)
        headers = {TENANT_HEADER: study.tenant, "Content-Type": "application/json"}
        async with self.line.transfer(User.FORWARD, urgency, len(body), Direction.UP).turn():
            pass  # recording takes the upstream longer than the offer takes the line: others need not wait for that
        async with self.exchange(
            "POST", "/api/offers", headers=headers, body=body, first_byte_s=self.timeouts.recorded_s
        ) as opened:
            raise_for_status(opened.status)
            answer = await self.read(opened, "offer", 1, MAX_DOCUMENT_BYTES)
        try:
            return read_answer(load_json(answer))
        except MalformedRequest as error:
            raise UpstreamError("the upstream's answer to an offer cannot be read") from error

    async def send(
        self,
        study: StudyRef,
        kind: ContentKind,
        stream: AsyncIterator[bytes],
        urgency: Urgency,
        *,
        by_recipe: bool = False,
    ) -> frozenset[Digest]:
        """Send contents of one kind, framed as in `wire.contentstream`; on return they are durable upstream.

        Headers are compressed on the way: each is much like those before. Returns what was refused
        of frames that were sent as recipes.
        """
        headers = {TENANT_HEADER: study.tenant, "Content-Type": contentstream.MEDIA_TYPE}
        if kind is ContentKind.HEADER:
            headers["Content-Encoding"] = "zstd"
            stream = _compressed(stream)
        target = f"{path_of(study, 'contents')}?kind={kind.name.lower()}{'&as=recipe' if by_recipe else ''}"
        async with (
            aclosing(self.in_turns(stream, urgency)) as body,
            self.exchange("PUT", target, headers=headers, body=body, first_byte_s=None) as sent,
        ):
            raise_for_status(sent.status)
            answer = await self.read(sent, "offer", 0, MAX_DOCUMENT_BYTES)
        return _refused(answer) if by_recipe else frozenset()

    async def in_turns(self, stream: AsyncIterator[bytes], urgency: Urgency) -> AsyncGenerator[bytes, None]:
        """Yield a stream that goes to the upstream in pieces, each when it is its turn on the line."""
        async for chunk in stream:
            piece_bytes = self.line.piece_bytes(urgency, Direction.UP) or len(chunk)
            for start in range(0, len(chunk), piece_bytes):
                piece = chunk[start : start + piece_bytes]
                transfer = self.line.transfer(User.FORWARD, urgency, len(piece), Direction.UP)
                async with transfer.turn():
                    yield piece
                    transfer.moved(len(piece))


def _refused(answer: bytes) -> frozenset[Digest]:
    try:
        return frozenset(parse_digest(text) for text in load_json(answer)["refused"])
    except (KeyError, TypeError, ValueError, AttributeError, MalformedRequest) as error:
        raise UpstreamError("the upstream does not say which recipes it refused") from error


async def _compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    async for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()
