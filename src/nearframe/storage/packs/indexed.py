"""The packs that the index knows, read beside the process that owns them."""

from __future__ import annotations

from pathlib import Path

import lmdb

from nearframe.errors import BackendFailed
from nearframe.storage.packs.index import Table
from nearframe.storage.packs.tables import SegmentUse, decode_number


def indexed_packs(home: Path) -> dict[int, SegmentUse]:
    """Return the packs that the index of a home speaks of, as far as it has come; none if there is no index.

    Raises
    ------
    BackendFailed
        If it is none.
    """
    directory = home / "packs" / "index"
    if not (directory / "data.mdb").is_file():
        return {}
    try:
        with lmdb.open(str(directory), readonly=True, max_dbs=len(Table)) as environment:
            table = environment.open_db(Table.SEGMENTS.name.lower().encode(), create=False)
            with environment.begin(db=table) as transaction:
                return {decode_number(key): SegmentUse.decode(value) for key, value in transaction.cursor()}
    except lmdb.Error as error:
        raise BackendFailed(
            f"the index of the packs cannot be read ({error}): stop the node, remove {directory}, and it is rebuilt"
        ) from error
