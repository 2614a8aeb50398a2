"""What the perceptual index proposes, as JSON: with what digests prove beside each proposal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nearframe.perceptual.candidates import Candidate, PatientIndex, Prior, Relation
from nearframe.perceptual.hashedframe import HashedFrame, Sameness
from nearframe.perceptual.report import DedupeReport, Repeated
from nearframe.storage.ports import PerceptualRow

#: Frames of the study that are compared, evenly chosen where it has more: each takes up to 3 ms.
MAX_ASKED_FRAMES = 1000

_RELATIONS = {Relation.SAME_PICTURE: "same_picture", Relation.RELATED_VIEW: "related_view"}
_SAMENESS = {
    Sameness.UNPROVED: "unproved",
    Sameness.SAME_PIXELS: "same_pixels",
    Sameness.SAME_BYTES: "same_bytes",
}


def study_proposals(rows: Sequence[PerceptualRow], study_instance_uid: str, limit: int) -> dict[str, Any]:
    """Return the candidates of a study's frames, nearest first, and its priors.

    Parameters
    ----------
    rows
        Of the patient, and of nobody else.
    limit
        Candidates listed; all are counted.
    """
    index = PatientIndex(rows)
    own = [frame for frame in index.frames if frame.identity.study_instance_uid == study_instance_uid]
    asked = own[:: max(1, -(-len(own) // MAX_ASKED_FRAMES))]
    found = [candidate for frame in asked for candidate in index.candidates(frame)]
    found.sort(key=lambda candidate: candidate.distance)
    priors = index.priors(study_instance_uid)
    counts = Counter(_RELATIONS[candidate.relation] for candidate in found)
    return {
        "study": study_instance_uid,
        "frames": len(own),
        "frames_compared": len(asked),
        "counts": {name: counts[name] for name in _RELATIONS.values()} | {"prior": len(priors)},
        "candidates": [_candidate(candidate) for candidate in found[:limit]],
        "priors": [_prior(prior) for prior in priors],
    }


def report_json(report: DedupeReport) -> dict[str, Any]:
    """Return a report of repetitions as JSON."""
    return {
        "frames": report.frames,
        "bytes": report.bytes,
        "saved_bytes": report.saved_bytes,
        "exact_duplicates": _repeated(report.exact),
        "metadata_only": _repeated(report.metadata_only),
        "same_pixels": _repeated(report.same_pixels),
        "perceptual_candidates": {
            "pairs": len(report.candidates),
            "frames": sum(match.frames for match in report.candidates),
            "bytes": sum(match.bytes for match in report.candidates),
            "series": [asdict(match) for match in report.candidates],
        },
    }


def _repeated(repeated: Repeated) -> dict[str, Any]:
    return {"instances": repeated.instances, "frames": repeated.frames, "bytes": repeated.bytes}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "relation": _RELATIONS[candidate.relation],
        "distance": candidate.distance,
        "proved": _SAMENESS[candidate.sameness],
        "frame": _place(candidate.frame),
        "other": _place(candidate.other),
    }


def _prior(prior: Prior) -> dict[str, Any]:
    return {
        "study": prior.study_instance_uid,
        "modality": prior.modality,
        "frames": prior.frames,
        "distance": prior.distance,
        "views_match": prior.views_match,
        "frame": _place(prior.nearest[0]),
        "other": _place(prior.nearest[1]),
    }


def _place(frame: HashedFrame) -> dict[str, Any]:
    identity = frame.identity
    return {
        "study": identity.study_instance_uid,
        "series": identity.series_instance_uid,
        "instance": identity.sop_instance_uid,
        "frame": frame.frame_index + 1,
        "modality": frame.modality,
        "bytes": frame.length,
    }
