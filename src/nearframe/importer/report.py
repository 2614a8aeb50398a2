"""What an import did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from nearframe.errors import NearframeError

NOT_HELD = "the target does not list it"
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
class Reconciliation:
    """How sources and target compare.

    Attributes
    ----------
    instances
        Found, each SOP Instance UID of a study once.
    held
        Of these, those the target lists.
    missing, missing_count
        Those it does not; the list ends at `MAX_PROBLEMS`.
    others
        What the target lists in the same studies besides.
    unidentified
        Files found whose UIDs could not be read.
    """

    studies: int = 0
    instances: int = 0
    held: int = 0
    others: int = 0
    unidentified: int = 0
    missing_count: int = 0
    missing: list[Problem] = field(default_factory=list)

    @property
    def is_even(self) -> bool:
        """True if the target lists everything that was found."""
        return not self.missing_count and not self.unidentified

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "studies": self.studies,
            "instances": self.instances,
            "held": self.held,
            "others": self.others,
            "unidentified": self.unidentified,
            "missing_count": self.missing_count,
            "missing": [problem.name for problem in self.missing],
        }

    def _miss(self, name: str) -> None:
        self.missing_count += 1
        if len(self.missing) < MAX_PROBLEMS:
            self.missing.append(Problem(name, NOT_HELD))

    def compare(self, found: dict[str, str], held: set[str]) -> None:
        """Count one study.

        Parameters
        ----------
        found
            SOP Instance UIDs, and a name of each for people.
        held
            Those that the target lists.
        """
        self.studies += 1
        self.instances += len(found)
        self.held += len(found.keys() & held)
        self.others += len(held - found.keys())
        for uid in sorted(found.keys() - held):
            self._miss(found[uid])


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
    reconciliation
        How sources and target compare afterwards, if that was asked for and could be found out.
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
    reconciliation: Reconciliation | None = None

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
        """True if every DICOM file found is stored, and listed where that was compared."""
        is_even = self.reconciliation is None or self.reconciliation.is_even
        return self.stopped_by is None and not self.failed_count and is_even

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
            "reconciliation": None if self.reconciliation is None else self.reconciliation.as_json(),
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
