"""Who does what only one may do: on every database, by the database's clock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from nearframe.errors import LeaseLost
from nearframe.storage.catalogue import SQLCatalogue, schema
from nearframe.storage.catalogue.leases import Lease, Leases
from tests.unit.storage.catalogue.objects import study_ref, version

Open = Callable[[], SQLCatalogue]
LONG_S = 600.0
WORK = "renditions"


def expire(catalogue: SQLCatalogue) -> None:
    with catalogue.database.write() as connection:
        connection.execute(
            sa.update(schema.lease).values(expires_at=sa.select(catalogue.database.now).scalar_subquery())
        )


@pytest.fixture
def leases(catalogue: SQLCatalogue) -> Leases:
    return Leases(catalogue.database)


def taken(leases: Leases, holder: str) -> Lease:
    lease = leases.take(WORK, holder, LONG_S)
    assert lease is not None
    return lease


def test_one_holds_it(leases: Leases, open_again: Open) -> None:
    first = taken(leases, "one")
    other = Leases(open_again().database)
    assert other.take(WORK, "two", LONG_S) is None
    assert leases.take(WORK, "one", LONG_S) is None  # not even the holder a second time
    (standing,) = other.standing()
    assert (standing.name, standing.holder, standing.token) == (WORK, "one", first.token)
    assert LONG_S - 60 < standing.expires_in_s <= LONG_S


def test_what_expired_is_taken_and_the_old_holder_is_told(
    leases: Leases, catalogue: SQLCatalogue, open_again: Open
) -> None:
    first = taken(leases, "one")
    assert leases.renew([first], LONG_S) == [first]
    expire(catalogue)
    second = taken(Leases(open_again().database), "two")
    assert second.token > first.token
    assert leases.renew([first], LONG_S) == []
    leases.give_up([first])  # says nothing about the new one's
    assert leases.take(WORK, "three", LONG_S) is None


def test_what_is_given_up_is_free_at_once(leases: Leases) -> None:
    first = taken(leases, "one")
    leases.give_up([first])
    assert taken(leases, "two").token == first.token + 1


def test_who_lost_it_writes_nothing(leases: Leases, catalogue: SQLCatalogue) -> None:
    """A holder that stood still for too long, and does not know it yet."""
    first = taken(leases, "one")
    slow = catalogue.guarded(first.guard)
    slow.record([version()])
    slow.outbox("consumer", 10)
    expire(catalogue)
    fast = catalogue.guarded(taken(leases, "two").guard)
    with pytest.raises(LeaseLost):
        slow.announce("series_end", "main", None, {})
    with pytest.raises(LeaseLost):
        slow.acknowledge("consumer", 10**6)
    assert catalogue.passed("consumer") == 0
    assert slow.state(study_ref()) == 1  # reading is free
    fast.acknowledge("consumer", 1)
    catalogue.record([version()])  # and so is what nobody holds a lease for


def test_of_many_who_come_at_once_one_gets_it(leases: Leases, open_again: Open) -> None:
    several = [Leases(open_again().database) for _ in range(4)]
    with ThreadPoolExecutor(len(several)) as pool:
        found = list(pool.map(lambda one: one.take(WORK, "anyone", LONG_S), several))
    assert sum(lease is not None for lease in found) == 1
