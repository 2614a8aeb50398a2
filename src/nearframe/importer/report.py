"""What an import did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from nearframe.errors import NearframeError

MAX_PROBLEMS = 10_000  # a report stays readable and bounded; beyond that they are only counted


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be stored, that was stored with a warning, or that is missing.

    Attributes
    ----------
    name
        Path of the file, with ``!`` before the name inside an archive.
    code
        Failure Reason or Warning Reason of DICOM, or None where the file never left this machine.
    """

    name: str
    reason: str
    code: int | None = None


@dataclass(slots=True)
class Report:
    """What an import did.

    Attributes
    ----------
    found, found_bytes
        DICOM files found, those sent in an earlier run included.
    other
        Files that are not DICOM: left alone.
    resumed
        Files that an interrupted run had already sent.
    stored, stored_bytes
        Files the server reported stored, those it held already included.
    warned, failed
        What a person should look at.
    warned_count, failed_count
        How many those are; the lists end at `MAX_PROBLEMS`.
    stopped_by
        Why the import ended before its end, or None if it did not.
    """

    found: int = 0
    found_bytes: int = 0
    other: int = 0
    resumed: int = 0
    stored: int = 0
    stored_bytes: int = 0
    sent_bytes: int = 0
    retries: int = 0
    seconds: float = 0.0
    warned: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    failed_count: int = 0
    warned_count: int = 0
    stopped_by: NearframeError | None = None

    def fail(self, problem: Problem) -> None:
        self.failed_count += 1
        if len(self.failed) < MAX_PROBLEMS:
            self.failed.append(problem)

    def warn(self, problem: Problem) -> None:
        self.warned_count += 1
        if len(self.warned) < MAX_PROBLEMS:
            self.warned.append(problem)

    @property
    def complete(self) -> bool:
        """True if every DICOM file found is stored."""
        return self.stopped_by is None and not self.failed_count

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "found": self.found,
            "found_bytes": self.found_bytes,
            "other": self.other,
            "resumed": self.resumed,
            "stored": self.stored,
            "stored_bytes": self.stored_bytes,
            "sent_bytes": self.sent_bytes,
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "warned": [_problem(problem) for problem in self.warned],
            "failed": [_problem(problem) for problem in self.failed],
            "warned_count": self.warned_count,
            "failed_count": self.failed_count,
            "stopped": "" if self.stopped_by is None else str(self.stopped_by),
        }


def _problem(problem: Problem) -> dict[str, Any]:
    code = None if problem.code is None else f"{problem.code:04X}"
    return {"file": problem.name, "reason": problem.reason, "code": code}


class Progress(Protocol):
    """Told as the import goes on; from several threads, one at a time."""

    def found(self, files: int, size_bytes: int) -> None:
        """More files to send were found."""
        ...

    def searched(self) -> None:
        """Every path has been searched: the totals stand."""
        ...

    def sent(self, files: int, size_bytes: int) -> None:
        """The server answered for these files, or they were given up."""
        ...

    def waiting(self, problem: str) -> None:
        """The server is away or busy, and will be asked again."""
        ...


class NoProgress:
    """Tells nobody."""

    def found(self, files: int, size_bytes: int) -> None:
        pass

    def searched(self) -> None:
        pass

    def sent(self, files: int, size_bytes: int) -> None:
        pass

    def waiting(self, problem: str) -> None:
        pass
