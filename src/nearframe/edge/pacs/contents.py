"""Contents at an edge in front of an archive: what was lost or made room for is retrieved again with its file."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from nearframe.context import Context
from nearframe.edge.pacs.mirror import Mirror
from nearframe.errors import IntegrityError, NotFound
from nearframe.ids import Digest
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_READS, Metrics
from nearframe.query.contents import LocalContents
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentStore, InstanceRecord, StudyRef


class MirroredContents(LocalContents):
    """The `query.contents.ContentReader` of such an edge."""

    def __init__(
        self, store: ContentStore, disk: Workers, catalogue: Catalogue, sql: Workers, mirror: Mirror, metrics: Metrics
    ) -> None:
        super().__init__(store, disk)
        self._catalogue = catalogue
        self._sql = sql
        self._mirror = mirror
        self._metrics = metrics

    async def read(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> bytes:
        try:
            data = await super().read(context, study, digest, start, stop)
        except (NotFound, IntegrityError) as error:
            await self._bring(context, study, digest, error)
            return await super().read(context, study, digest, start, stop)
        self._metrics.add(EDGE_READS, how="held")
        return data

    async def size(self, context: Context, study: StudyRef, digest: Digest) -> int:
        try:
            return await super().size(context, study, digest)
        except NotFound as error:
            await self._bring(context, study, digest, error)
            return await super().size(context, study, digest)

    async def stream(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self.size(context, study, digest)
        async for chunk in super().stream(context, study, digest, start, stop):
            yield chunk

    async def _bring(self, context: Context, study: StudyRef, digest: Digest, error: NotFound | IntegrityError) -> None:
        if isinstance(error, IntegrityError):
            # A damaged record reads as missing from now on; what is retrieved takes its place.
            self._metrics.add(EDGE_INTEGRITY_FAILURES, what="local")
        for record in await self._sql.run(self._catalogue.list_instances, study):
            if _holds(record, digest):
                await self._mirror.bring_again(study, record.identity, context.urgency)
                self._metrics.add(EDGE_READS, how="fetched")
                return
        raise error


def _holds(record: InstanceRecord, digest: Digest) -> bool:
    return (
        digest == record.hdr
        or any(enc == digest for enc, _ in record.frames)
        or any(bulk.digest == digest for bulk in record.bulk)
    )
