"""The store against a naive model, under random operations, disk errors, power cuts and lost indexes."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nearframe.errors import NotFound, StorageError
from nearframe.ids import Digest, sha256
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.faulty import Fault, FaultyDisk, PowerCutError, When
from nearframe.storage.packs.keyring import SlotKeyRing
from nearframe.storage.ports import ContentKind, StudyRef
from tests.packs import SMALL, lose_index

Pair = tuple[StudyRef, Digest]

STUDIES = [StudyRef("main", "1.2.1"), StudyRef("main", "1.2.2"), StudyRef("other", "1.2.1")]
#: From empty to larger than a pack, which takes 8 KiB here; a chunk takes 1 KiB.
CONTENTS = {
    sha256(data): data for data in (random.Random(n).randbytes(n) for n in (0, 1, 300, 301, 1024, 1025, 3000, 9000))
}
PAIRS = [(study, digest) for study in STUDIES for digest in CONTENTS]

studies = st.sampled_from(STUDIES)
digest_sets = st.sets(st.sampled_from(list(CONTENTS)))
operations_ahead = st.integers(0, 12)
moments = st.sampled_from(When)


class StoreMachine(RuleBasedStateMachine):
    """`now` is what the store must answer, `possible` what it may answer after a power cut."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="packs-"))
        self.now = dict.fromkeys(PAIRS, False)
        self.possible = {pair: {False} for pair in PAIRS}
        self.half_shredded: set[StudyRef] = set()

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.disk = FaultyDisk(seed)
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.abandon()
        shutil.rmtree(self.home)

    def open(self) -> None:
        keys = SlotKeyRing(self.disk.directory("keys"), bytes(32))
        self.store = PackStore(self.home, SMALL, files=self.disk.directory("packs"), keys=keys)
        self.mark = self.store.mark()

    # -- operations ------------------------------------------------------------------------

    @rule(study=studies, digest=st.sampled_from(list(CONTENTS)), kind=st.sampled_from(ContentKind))
    def append(self, study: StudyRef, digest: Digest, kind: ContentKind) -> None:
        data = CONTENTS[digest]
        self.attempt(
            lambda: self.store.append(study, kind, digest, len(data), [data[:500], data[500:]]),
            {(study, digest): True},
        )

    @rule(study=studies, digests=digest_sets)
    def adopt(self, study: StudyRef, digests: set[Digest]) -> None:
        held_by_tenant = {d for s, d in PAIRS if s.tenant == study.tenant and self.now[s, d]}
        expected = {(study, digest): True for digest in digests & held_by_tenant}
        lacking: list[Digest] = []
        if self.attempt(lambda: lacking.extend(self.store.adopt(study, digests)), expected):
            assert set(lacking) == digests - held_by_tenant

    @rule(study=studies, digests=digest_sets)
    def release(self, study: StudyRef, digests: set[Digest]) -> None:
        self.attempt(lambda: self.store.release(study, digests), {(study, digest): False for digest in digests})

    @rule(study=studies)
    def shred(self, study: StudyRef) -> None:
        pairs = [(study, digest) for digest in CONTENTS]
        self.half_shredded.add(study)  # until it succeeds: whether the key is gone shows after a power cut
        if self.attempt(lambda: self.store.shred(study), dict.fromkeys(pairs, False)):
            self.half_shredded.discard(study)
            self.durable(pairs)

    @rule()
    def sync(self) -> None:
        if self.attempt(lambda: self.store.sync(self.mark)):
            self.durable(pair for pair in PAIRS if pair[0] not in self.half_shredded)

    @rule(share=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    def compact(self, share: float) -> None:
        quiet = not self.disk.faults
        skipped: list[int] = []
        if self.attempt(lambda: skipped.append(self.store.compact(share).skipped)) and quiet:
            assert skipped == [0]

    @rule()
    def flush(self) -> None:
        self.store.flush()

    @rule()
    def scrub(self) -> None:
        report = self.store.scrub()
        assert (report.damaged, report.quarantined) == (0, 0)

    # -- what goes wrong -------------------------------------------------------------------

    @rule(after=operations_ahead, error=st.sampled_from([errno.EIO, errno.ENOSPC]), when=moments)
    def disk_error_ahead(self, after: int, error: int, when: When) -> None:
        self.disk.strike(Fault(len(self.disk.operations) + after, when, error))

    @rule(after=operations_ahead, when=moments)
    def power_cut_ahead(self, after: int, when: When) -> None:
        self.disk.strike(Fault(len(self.disk.operations) + after, when))

    @rule(index_lost=st.booleans(), again_after=st.none() | st.integers(0, 8), when=moments)
    def power_cut(self, index_lost: bool, again_after: int | None, when: When) -> None:
        self.restart_after_power_cut(index_lost)
        if again_after is not None:
            self.disk.strike(Fault(len(self.disk.operations) + again_after, when))
            try:
                self.open()
            except PowerCutError:
                self.disk.restart()
            else:
                self.restart_after_power_cut(index_lost)
        self.reopen()

    @rule(index_lost=st.booleans())
    def clean_restart(self, index_lost: bool) -> None:
        self.disk.faults.clear()
        before = self.store.stats()
        self.store.close()
        if index_lost:
            lose_index(self.home)
        self.open()
        after = self.store.stats()
        assert (after.contents, after.plain_bytes) == (before.contents, before.plain_bytes)
        self.half_shredded.clear()
        self.durable(PAIRS)

    def restart_after_power_cut(self, index_lost: bool) -> None:
        self.store.abandon()
        self.disk.restart()
        if index_lost:
            lose_index(self.home)

    def reopen(self) -> None:
        self.open()
        self.observe(PAIRS)
        self.half_shredded.clear()
        self.durable(PAIRS)

    # -- judging ---------------------------------------------------------------------------

    def attempt(self, operation: Callable[[], object], effect: dict[Pair, bool] | None = None) -> bool:
        """Run an operation that sets `effect`; return False if something went wrong."""
        effect = effect or {}
        for pair, held in effect.items():
            self.possible[pair].add(held)
        succeeded = False
        try:
            operation()
            self.now.update(effect)
            succeeded = True
        except PowerCutError:
            self.restart_after_power_cut(index_lost=False)
            self.reopen()
        except StorageError:
            self.observe(effect)
        if self.store.mark() != self.mark:
            # What was not synced is forgotten; whether the disk has it shows after a power cut.
            self.mark = self.store.mark()
            self.observe(PAIRS)
            succeeded = False
        return succeeded

    def observe(self, pairs: Iterable[Pair]) -> None:
        """Take what the store says for true, if it is possible."""
        for study, digest in pairs:
            held = not self.store.missing(study, [digest])
            assert held in self.possible[study, digest]
            self.now[study, digest] = held

    def durable(self, pairs: Iterable[Pair]) -> None:
        """Take what the store must answer for what it keeps."""
        for pair in pairs:
            self.possible[pair] = {self.now[pair]}

    @invariant()
    def reads_what_it_must(self) -> None:
        if not hasattr(self, "store"):
            return
        for (study, digest), held in self.now.items():
            try:
                found = self.store.read(study, digest)
            except NotFound:
                assert not held
            else:
                assert held
                assert found == CONTENTS[digest]

    @invariant()
    def counts_what_it_holds(self) -> None:
        if not hasattr(self, "store"):
            return
        held = {(study.tenant, digest) for (study, digest), is_held in self.now.items() if is_held}
        stats = self.store.stats()
        # A power cut may take a release, and leave what was stored again after it: two copies.
        assert len(held) <= stats.contents <= sum(self.now.values())
        assert stats.plain_bytes >= sum(len(CONTENTS[digest]) for _, digest in held)
        assert stats.plain_bytes <= stats.live_bytes <= stats.stored_bytes or not held


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
