"""What an export did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nearframe.errors import NearframeError
from nearframe.importer.report import MAX_PROBLEMS, Problem


@dataclass(slots=True)
class Report:
    """What an export did.

    Attributes
    ----------
    found
        Instances that the node lists.
    held
        Of these, those that an earlier run had written.
    written, written_bytes
        Files written now.
    masked
        Files in whose pictures regions were blackened, by name.
    failed
        Instances that were not written, by where they are at the node, and why; the list ends at `MAX_PROBLEMS`.
    stopped_by
        Why the export ended before its end, or None if it did not.
    """

    studies: int = 0
    found: int = 0
    held: int = 0
    written: int = 0
    written_bytes: int = 0
    failed_count: int = 0
    seconds: float = 0.0
    masked: list[str] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    stopped_by: NearframeError | None = None

    def fail(self, name: str, reason: str) -> None:
        self.failed_count += 1
        if len(self.failed) < MAX_PROBLEMS:
            self.failed.append(Problem(name, reason))

    @property
    def complete(self) -> bool:
        """True if everything that was found is written."""
        return self.stopped_by is None and not self.failed_count

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "studies": self.studies,
            "found": self.found,
            "held": self.held,
            "written": self.written,
            "written_bytes": self.written_bytes,
            "masked": self.masked,
            "failed_count": self.failed_count,
            "failed": [{"instance": problem.name, "reason": problem.reason} for problem in self.failed],
            "seconds": round(self.seconds, 3),
            "stopped": "" if self.stopped_by is None else str(self.stopped_by),
        }
