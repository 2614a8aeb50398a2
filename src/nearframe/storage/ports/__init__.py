"""What the services need of storage: sealed contents by digest, and the catalogue.

Two ports, because their guarantees differ. Contents are immutable, addressed by digest
and may be read without any database. The catalogue is the only place where something
changes, in transactions.
"""

from nearframe.storage.ports.catalogue import Catalogue, nothing
from nearframe.storage.ports.contents import Buffer, ContentKind, ContentStore, Mark, StudyRef
from nearframe.storage.ports.corrections import (
    CorrectedInstance,
    CorrectionRecord,
    MergedIdentity,
    NewCorrection,
    PatientIdentity,
    PatientStudy,
    Revision,
    StrayStudy,
)
from nearframe.storage.ports.holds import Held, HoldRecord, NewHold, Release
from nearframe.storage.ports.records import (
    AGAIN,
    UPSTREAM,
    BulkEntry,
    ConflictRecord,
    FeedCursor,
    FeedEntry,
    GivenUrgency,
    InstanceRecord,
    NewVersion,
    OutboxEvent,
    Outcome,
    PerceptualRow,
    Recorded,
    Rendition,
    Settled,
    TakenIn,
    Totals,
    Undecided,
)

__all__ = [
    "Buffer",
    "BulkEntry",
    "Catalogue",
    "ConflictRecord",
    "ContentKind",
    "ContentStore",
    "CorrectedInstance",
    "CorrectionRecord",
    "FeedCursor",
    "FeedEntry",
    "GivenUrgency",
    "Held",
    "HoldRecord",
    "InstanceRecord",
    "Mark",
    "MergedIdentity",
    "NewCorrection",
    "NewHold",
    "NewVersion",
    "OutboxEvent",
    "Outcome",
    "PatientIdentity",
    "PatientStudy",
    "PerceptualRow",
    "Recorded",
    "Release",
    "Rendition",
    "Revision",
    "Settled",
    "StrayStudy",
    "StudyRef",
    "TakenIn",
    "Totals",
    "AGAIN",
    "UPSTREAM",
    "Undecided",
    "nothing",
]
