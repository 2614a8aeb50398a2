"""Two origins under random operations and failures, against a naive model of what was acknowledged."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy, NotFound
from nearframe.ids import Digest, sha256
from nearframe.storage.objects import ObjectSettings, ObjectStore, open_index
from nearframe.storage.objects.freshness import STALE_S
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.units import KIB, MIB
from tests.buckets import MemoryBucket, failing, nothing

SETTINGS = ObjectSettings(object_bytes=16 * KIB, chunk_log2=10, cache_bytes=2 * MIB)
STUDIES = [StudyRef("main", "1.1"), StudyRef("main", "1.2"), StudyRef("other", "1.1")]
STEPS = 120


class World:
    """Two origins over one bucket, and what must be true of them.

    Attributes
    ----------
    held
        By study: what was acknowledged, and nobody took away.
    """

    def __init__(self, chance: random.Random, bucket: MemoryBucket, clock: ManualClock, origins: list[ObjectStore]):
        self.chance = chance
        self.bucket = bucket
        self.clock = clock
        self.origins = origins
        self.contents = [os.urandom(chance.choice([0, 10, 1000, 5000, 20_000])) for _ in range(24)]
        self.held: dict[StudyRef, set[Digest]] = defaultdict(set)
        self.plain = {sha256(data): data for data in self.contents}

    def step(self) -> None:
        steps = [self.store] * 6 + [self.adopt, self.release, self.release, self.shred, self.compact, self.read]
        self.chance.choice(steps)()

    def store(self) -> None:
        study, some = self.study(), self.chance.sample(self.contents, self.chance.randrange(1, 6))
        with self.sometimes_failing():
            origin = self.origin()
            mark = origin.mark()
            try:
                for data in some:
                    origin.append(study, ContentKind.FRAME, sha256(data), len(data), [data])
                origin.sync(mark)
            except Busy:
                return  # it may have been stored all the same: nobody was told
        self.held[study].update(map(sha256, some))

    def adopt(self) -> None:
        study, wanted = self.study(), self.chance.sample(sorted(self.plain), 4)
        lacking = self.origin().adopt(study, wanted)
        of_tenant = {one for other, held in self.held.items() if other.tenant == study.tenant for one in held}
        assert not of_tenant.intersection(lacking)
        self.held[study].update(set(wanted) - set(lacking))

    def release(self) -> None:
        study = self.study()
        gone = self.chance.sample(sorted(self.plain), 6)
        self.origin().release(study, gone)
        self.held[study].difference_update(gone)
        self.clock.advance(STALE_S)

    def shred(self) -> None:
        study = self.study()
        self.origin().shred(study)
        self.held[study].clear()
        self.clock.advance(STALE_S)
        for origin in self.origins:
            for digest in self.plain:
                with pytest.raises(NotFound):
                    origin.read(study, digest)

    def compact(self) -> None:
        self.clock.advance(self.chance.choice([60, 4000, 100_000]))
        with self.sometimes_failing():
            try:
                self.origin().compact()
            except Busy:
                return

    def read(self) -> None:
        origin = self.origin()
        for study, held in self.held.items():
            assert not set(origin.missing(study, held))
            for digest in held:
                assert origin.read(study, digest) == self.plain[digest]

    def study(self) -> StudyRef:
        return self.chance.choice(STUDIES)

    def origin(self) -> ObjectStore:
        return self.chance.choice(self.origins)

    @contextmanager
    def sometimes_failing(self) -> Iterator[None]:
        """Let a request fail now and then, before or after it did what it was asked."""
        when = self.chance.choice(["before", "after", "", "", ""])
        operation = self.chance.choice(["put", "put", "put_parts", "get", "remove", "list"])
        if when:
            setattr(self.bucket, when, failing(operation, times=self.chance.randrange(1, 3)))
        try:
            yield
        finally:
            self.bucket.before = self.bucket.after = nothing


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.drill) for seed in range(2, 12))])
def test_what_was_acknowledged_is_there(tmp_path: Path, seed: int) -> None:
    bucket, clock = MemoryBucket(), ManualClock()
    with ExitStack() as stack:
        origins = []
        for name in ("one", "two"):
            keys = tmp_path / name / "keys"
            keys.mkdir(parents=True)
            (keys / "root.key").write_text("11" * 32)
            index = open_index(tmp_path / "index.sqlite")
            store = ObjectStore(tmp_path / name, bucket, index, SETTINGS, clock)
            origins.append(stack.enter_context(closing(store)))
        world = World(random.Random(seed), bucket, clock, origins)
        for _ in range(STEPS):
            world.step()
        world.read()
        assert origins[0].scrub().damaged == 0
        contents = origins[0].stats().contents
        assert contents >= len({(study.tenant, digest) for study, held in world.held.items() for digest in held})
