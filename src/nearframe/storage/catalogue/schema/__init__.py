"""The tables of the catalogue, in terms that SQLite and PostgreSQL share.

::

    head      one row: epoch, last sequence, next id, totals
    study     identity, search columns, prepared answer; `seq` is its place in the feed
    series    the same one level down
    instance  one row per SOP Instance UID and tenant: which version is current
    version   everything ever stored of an instance; written once
    term      inverted index of names, fragments, modalities -> study

Beside them stand what scanners are told and tell: scheduled and performed steps, commitments; the corrections
that people make, with the versions each led from and to; identifiers that were merged away; HL7 messages;
legal holds, with the studies that each keeps; and what is being let go of for good.

Studies, series and instances that were removed stay as rows that are not listed: the feed
still has to report them, and an older state of a study can still be rebuilt.

Ids are drawn from one counter, so an id names one row of the whole catalogue. Times are
microseconds since 1970, UTC. Large columns stand last: SQLite reads a row from its start
and leaves overflow pages alone that no column of the query needs.
"""

from nearframe.storage.catalogue.schema.base import metadata
from nearframe.storage.catalogue.schema.derived import conflict, consumer, outbox, perceptual, rendition
from nearframe.storage.catalogue.schema.keeping import (
    corrected,
    correction,
    held,
    hold,
    letting_go,
    merged_identifier,
    withdrawn,
)
from nearframe.storage.catalogue.schema.objects import (
    given_urgency,
    head,
    instance,
    schema_version,
    series,
    study,
    study_root,
    term,
    version,
)
from nearframe.storage.catalogue.schema.workflow import commitment, hl7_message, lease, performed_step, scheduled_step

__all__ = [
    "commitment",
    "conflict",
    "consumer",
    "corrected",
    "correction",
    "given_urgency",
    "head",
    "held",
    "hl7_message",
    "hold",
    "instance",
    "lease",
    "letting_go",
    "merged_identifier",
    "metadata",
    "outbox",
    "perceptual",
    "performed_step",
    "rendition",
    "scheduled_step",
    "schema_version",
    "series",
    "study",
    "study_root",
    "term",
    "version",
    "withdrawn",
]
