"""What other processes committed, told by PostgreSQL within a millisecond (``LISTEN``, ``NOTIFY``).

A notification says only that there is something: who hears it looks at the feed and the outbox,
where everything stands. So one that is lost with a connection costs a moment, not an entry: the
next connection begins with a look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from nearframe import log

CHANNEL: Final = "nearframe"
_AGAIN_S: Final = 1.0

_log = log.logger(__name__)


async def news(url: str) -> AsyncIterator[None]:
    """Yield at first, and whenever something may have been committed since; never ends by itself."""
    import psycopg  # an extra: only who has such a catalogue needs it

    while True:
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                yield
                async for _ in connection.notifies():
                    yield
        except psycopg.Error as error:
            _log.warning("news_interrupted", error=error)
        await asyncio.sleep(_AGAIN_S)
