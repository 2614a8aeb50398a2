"""What somebody may want to hear while a study comes."""

from __future__ import annotations

from dataclasses import dataclass

from nearframe.wire.manifest import InstanceEntry, Manifest


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame, or another piece, can be looked at; or at more resolutions than before.

    Attributes
    ----------
    instance
        The first instance that has it.
    frame_number
        From one; None if it is no frame.
    resolutions
        How many of the lowest resolutions have come; None once it is whole and proved.
        What is not whole is not proved either: good to look at early, and for nothing else.
    """

    instance: InstanceEntry
    frame_number: int | None
    resolutions: int | None = None


class Progress:
    """Told what happens; this one ignores it. Called from the thread that syncs."""

    def known(self, manifest: Manifest, lacking_bytes: int) -> None:
        """The state of the study is known, and how many bytes of its contents are not held."""

    def arrived(self, arrival: Arrival) -> None:
        """Something can be looked at."""

    def received(self, size_bytes: int) -> None:
        """So many bytes came over the line."""

    def failed(self, url: str, problem: str) -> None:
        """A node did not give all it should; another one is asked, or the same again."""
