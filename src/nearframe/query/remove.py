"""Removal from view, as the ``delete_policy`` setting has it."""

from __future__ import annotations

from nearframe.context import Context
from nearframe.errors import Refused
from nearframe.query.freshness import Freshness
from nearframe.query.records import InstanceRecords
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue


class CatalogueRemoval:
    """Removes studies, series and instances from the catalogue's view; their versions stay stored."""

    def __init__(
        self, catalogue: Catalogue, records: InstanceRecords, sql: Workers, freshness: Freshness, *, allowed: bool
    ) -> None:
        self._catalogue = catalogue
        self._records = records
        self._sql = sql
        self._freshness = freshness
        self._allowed = allowed

    async def remove(self, ctx: Context, study: str, series: str | None, instance: str | None) -> None:
        """Remove a study, a series or an instance; see `dicomweb.ports.RemoveService`."""
        if not self._allowed:
            raise Refused("removal is off; set delete_policy = remove to allow it")
        reference = self._records.study(ctx, study)
        await self._sql.run(self._catalogue.delete, reference, series, instance, ctx.principal)
        self._freshness.changed(reference)
