"""What an archive tells those who look after it, as JSON. Sync: callers bring threads."""

from __future__ import annotations

import threading
import time
from typing import Any

from nearframe.config import Settings
from nearframe.context import Context
from nearframe.errors import LimitExceeded, NotFound
from nearframe.origin import proposals
from nearframe.origin.background import BackgroundWork
from nearframe.origin.conflicting import describe
from nearframe.perceptual.report import dedupe_report
from nearframe.query.health import free_bytes, high_mark
from nearframe.query.status import NodeStatus, node_status
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import (
    Catalogue,
    ConflictRecord,
    ContentKind,
    CorrectionRecord,
    GivenUrgency,
    InstanceRecord,
    StrayStudy,
    StudyRef,
)
from nearframe.storage.stores import Store
from nearframe.upkeep.duties import Duties

#: A report compares frames in memory, at about 600 bytes each.
MAX_REPORT_FRAMES = 300_000
#: Between two countings of every content by kind.
_COUNT_AGAIN_S = 600.0


class Admin:
    """The archive as its administrator sees it, one tenant at a time."""

    def __init__(
        self,
        settings: Settings,
        packs: Store,
        catalogue: Catalogue,
        corrections: Corrections,
        background: BackgroundWork,
        duties: Duties,
    ) -> None:
        self._settings = settings
        self._packs = packs
        self._catalogue = catalogue
        self._corrections = corrections
        self._background = background
        self._duties = duties
        self._counting = threading.Lock()
        self._counted: tuple[float, dict[ContentKind, tuple[int, int]]] = (-_COUNT_AGAIN_S, {})

    def status(self) -> NodeStatus:
        """Return how the node stands."""
        state = node_status("origin", self._settings.home, self._catalogue, self._packs.stats())
        state["background"] = self._background.status()
        state["duties"] = self._duties.as_json()
        return state

    def storage(self) -> dict[str, Any]:
        """Return what the disk holds, by kind, and what room there is above which mark."""
        stats = self._packs.stats()
        return {
            "kinds": {kind.name.lower(): {"contents": n, "bytes": size} for kind, (n, size) in self._kinds().items()},
            "packs": stats.segments,
            "stored_bytes": stats.stored_bytes,
            "dead_bytes": stats.dead_bytes,
            "free_bytes": free_bytes(self._settings.home),
            "reserve_bytes": self._settings.kept_free_bytes,
            "high_mark_bytes": high_mark(self._settings),
        }

    def _kinds(self) -> dict[ContentKind, tuple[int, int]]:
        with self._counting:
            at, found = self._counted
            if time.monotonic() - at >= _COUNT_AGAIN_S:
                found = self._packs.kinds()
                self._counted = time.monotonic(), found
            return found

    def conflicts(self, context: Context, *, open_only: bool, limit: int) -> dict[str, Any]:
        """Return the versions that wait for somebody to say which one is right, the oldest first."""
        found = self._catalogue.conflicts(context.tenant, open_only=open_only)
        listed = [_conflict(one) | describe(self._catalogue, one, context.scope) for one in found[:limit]]
        return {"conflicts": listed, "total": len(found)}

    def strays(self, tenant: str) -> dict[str, Any]:
        """Return the studies that name an identifier which was merged away."""
        return {"studies": [_stray(one) for one in self._corrections.identities.strays(tenant)]}

    def resolve(self, tenant: str, conflict_id: int, keep: str, principal: str) -> tuple[StudyRef, dict[str, Any]]:
        """Close a conflict; return its study and what became of it.

        Raises
        ------
        NotFound
            If the tenant has no such conflict.
        MalformedRequest
            If it is closed already, or `keep` is neither ``current`` nor ``incoming``.
        """
        if not any(one.id == conflict_id for one in self._catalogue.conflicts(tenant, open_only=False)):
            raise NotFound("conflict")
        resolved = self._catalogue.resolve_conflict(conflict_id, keep, principal)
        return resolved.study, _conflict(resolved)

    def dedupe(self, tenant: str) -> dict[str, Any]:
        """Return what the tenant holds more than once, by what proves or proposes it.

        Raises
        ------
        LimitExceeded
            If there are more frames than are compared at once.
        """
        frames = self._catalogue.count_tenant_hashes(tenant)
        if frames > MAX_REPORT_FRAMES:
            raise LimitExceeded("frames of one report", MAX_REPORT_FRAMES, frames)
        rows, patients = self._catalogue.tenant_hashes(tenant)
        return proposals.report_json(dedupe_report(rows, lambda frame: patients[frame.identity.study_instance_uid]))

    def candidates(self, study: StudyRef, limit: int) -> dict[str, Any]:
        """Return what looks like the frames of a study, within its patient.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        self._catalogue.state(study)
        return proposals.study_proposals(self._catalogue.hashes(study), study.study_instance_uid, limit)

    def given_urgency(self, study: StudyRef) -> GivenUrgency | None:
        """Return the class of urgency that was given to a study; raises `NotFound` if there is no such study."""
        self._catalogue.state(study)
        return self._catalogue.given_urgency(study)

    def give_urgency(self, study: StudyRef, given: GivenUrgency | None) -> None:
        """Give a study a class, or take it back: the feed tells its edges. Raises `NotFound`."""
        self._catalogue.give_urgency(study, given)

    def versions(self, tenant: str, sop_instance_uid: str) -> list[tuple[InstanceRecord, CorrectionRecord | None]]:
        """Return every stored version of an instance, oldest first, with the correction that made it.

        Raises
        ------
        NotFound
            If there is none.
        """
        found = self._catalogue.list_versions(tenant, sop_instance_uid)
        if not found:
            raise NotFound("instance")
        made_by = self._corrections.of_instance(tenant, sop_instance_uid)
        return [(record, made_by.get(record.version)) for record in found]


def version_json(record: InstanceRecord, correction: CorrectionRecord | None) -> dict[str, Any]:
    """Return what is known of one stored version."""
    why = correction and {
        "id": correction.id,
        "action": correction.action,
        "by": correction.principal,
        "reason": correction.reason,
    }
    identity = record.identity
    return {
        "version": record.version,
        "current": record.is_current,
        "study": identity.study_instance_uid,
        "series": identity.series_instance_uid,
        "sop_class": identity.sop_class_uid,
        "transfer_syntax": record.transfer_syntax_uid,
        "file": f"sha256:{record.file.hex()}",
        "file_bytes": record.file_bytes,
        "frames": len(record.frames),
        "received_at": record.received_at.isoformat(),
        "notes": list(record.notes),
        "correction": why,
    }


def _conflict(record: ConflictRecord) -> dict[str, Any]:
    identity = record.identity
    return {
        "id": record.id,
        "study": identity.study_instance_uid,
        "series": identity.series_instance_uid,
        "instance": identity.sop_instance_uid,
        "sop_class": identity.sop_class_uid,
        "version": record.version,
        "current_version": record.current_version,
        "source": record.source,
        "received_at": record.received_at.isoformat(),
        "resolved_at": None if record.resolved_at is None else record.resolved_at.isoformat(),
        "resolution": record.resolution,
    }


def _stray(study: StrayStudy) -> dict[str, Any]:
    return {
        "study": study.study_instance_uid,
        "instances": study.instances,
        "names": {"id": study.names.id, "issuer": study.names.issuer},
        "belongs_to": {"id": study.belongs_to.id, "issuer": study.belongs_to.issuer},
        "merged_at": study.merged_at.isoformat(),
    }
