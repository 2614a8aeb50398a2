"""The catalogue on a PostgreSQL server: for origins with several processes.

Writers of all processes wait for one another on an advisory lock taken when a transaction
begins and released by its commit. Sequences are therefore given in commit order, which a
PostgreSQL sequence does not promise.

A process that is cut off, or stands still, amid a transaction would hold everybody up. The server
ends what is idle in a transaction for `_STALLED_S`, and probes connections that say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from nearframe.errors import Busy, ConfigurationError, DatabaseAway, NearframeError, NoSpace, TooBroad
from nearframe.storage.catalogue.database import READERS, WAIT_S, Database
from nearframe.storage.catalogue.news import CHANNEL, news

#: Advisory locks, one for each set of tables that has one writer at a time: "nearfram", "nearstor".
CATALOGUE_LOCK: Final = 0x6E6561726672616D
STORE_LOCK: Final = 0x6E65617273746F72
#: By the clock of the server, which replication and backups need too.
_NOW: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
#: Packs are made durable within the transaction, and a disk may take its time.
_STALLED_S: Final = 60
#: Of a peer that vanished without a word: asked after 10 s, and given up soon after.
_KEEP_ALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": int(WAIT_S * 1000),
}

# SQLSTATE classes, https://www.postgresql.org/docs/current/errcodes-appendix.html
_DISK_FULL = "53100"
_CANCELED = "57014"
_BUSY = ("53300", "55P03", "40001", "40P01")
#: The server shuts down, crashed, or starts; it ended a session that stood still; the connection broke.
_AWAY = ("57P01", "57P02", "57P03", "57P05", "25P03")
_BROKEN = "08"


def open_postgres(url: str, lock: int = CATALOGUE_LOCK) -> Database:
    """Connect to the database that a ``postgresql://`` URL names.

    Parameters
    ----------
    lock
        Taken by every writer while it writes.

    Raises
    ------
    ConfigurationError
        If the driver is not installed, or the URL cannot be read.
    """
    try:
        target = sa.make_url(url).set(drivername="postgresql+psycopg")
        writer = _engine(target, "READ COMMITTED", pool_size=1)
        readers = _engine(target, "REPEATABLE READ", pool_size=READERS, read_only=True)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a PostgreSQL catalogue needs its driver: pip install 'nearframe[postgresql]'"
        ) from error
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigurationError("the catalogue's URL cannot be read; write postgresql://user@host/database") from error
    sa.event.listen(writer, "connect", _bound_writer)
    plain = target.set(drivername="postgresql").render_as_string(hide_password=False)
    return Database(
        readers,
        writer,
        lock=f"SELECT pg_advisory_xact_lock({lock})",
        now=_NOW,
        tell=f"NOTIFY {CHANNEL}",
        news=lambda: news(plain),
        bound=_bound,
        translate=_translate,
    )


def _engine(url: sa.URL, isolation: str, *, pool_size: int, read_only: bool = False) -> sa.Engine:
    return sa.create_engine(
        url,
        isolation_level=isolation,
        execution_options={"postgresql_readonly": read_only},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=WAIT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": int(WAIT_S), **_KEEP_ALIVE},
    )


def _bound_writer(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {int(WAIT_S * 1000)}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {_STALLED_S * 1000}")
    connection.commit()


@contextmanager
def _bound(connection: sa.Connection, allowed_s: float) -> Iterator[None]:
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(allowed_s * 1000)}")
    yield


def _translate(error: BaseException) -> NearframeError | None:
    state = getattr(error, "sqlstate", None)
    if state == _DISK_FULL:
        return NoSpace(needed_bytes=1, free_bytes=0)
    if state == _CANCELED:
        return TooBroad()
    if state in _BUSY:
        return Busy("the catalogue's database is busy; try again")
    # Without an SQLSTATE the driver never got as far as one.
    unanswered = state is None and type(error).__name__ == "OperationalError"
    if unanswered or state in _AWAY or (state or "").startswith(_BROKEN):
        return DatabaseAway("the catalogue's PostgreSQL server does not answer us; check it and database_url")
    return None
