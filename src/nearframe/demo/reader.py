"""A DICOMweb reader that keeps the time of its first bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from nearframe.errors import UpstreamError, UpstreamUnavailable

#: What OHIF asks for: any transfer syntax, whatever the node has at hand.
FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"
PART10 = "application/dicom; transfer-syntax=*"


@dataclass(frozen=True, slots=True)
class Reading:
    """Frames read one after the other.

    Attributes
    ----------
    first_byte_ms
        For each frame, from the request to the first byte of its body.
    """

    frames: int
    received_bytes: int
    first_byte_ms: tuple[float, ...]

    @property
    def median_first_byte_ms(self) -> float:
        return statistics.median(self.first_byte_ms) if self.first_byte_ms else float("nan")


class Reader:
    """Reads from one node over a kept connection."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(30, connect=5))

    def close(self) -> None:
        self._client.close()

    def json(self, path: str, **query: str | int) -> Any:
        """Return a JSON answer; an empty one is an empty list."""
        answer = self._ask("GET", path, params=query)
        return answer.json() if answer.content else []

    def status(self) -> dict[str, Any]:
        """Return the node's own account of itself."""
        state: dict[str, Any] = self.json("/api/status")
        return state

    def instances(self, study: str) -> list[tuple[str, str, int]]:
        """Return ``(series, instance, number of frames)`` of a study, from its metadata."""
        found = []
        for series in self.json(f"/dicomweb/studies/{study}/series"):
            series_uid = series["0020000E"]["Value"][0]
            for one in self.json(f"/dicomweb/studies/{study}/series/{series_uid}/metadata"):
                frames = int(one.get("00280008", {}).get("Value", [1])[0]) if "7FE00010" in one else 0
                found.append((series_uid, one["00080018"]["Value"][0], frames))
        return found

    def read_frames(self, study: str, instances: list[tuple[str, str, int]]) -> Reading:
        """Read every frame of the instances."""
        received = 0
        times: list[float] = []
        for path in _frame_paths(study, instances):
            start = time.perf_counter()
            with self._client.stream("GET", path, headers={"Accept": FRAMES}) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise _error(answer)
                first = True
                for chunk in answer.iter_raw():
                    if first:
                        times.append((time.perf_counter() - start) * 1e3)
                        first = False
                    received += len(chunk)
        return Reading(len(times), received, tuple(times))

    def read_instance(self, study: str, series: str, instance: str) -> bytes:
        """Return the stored file, byte for byte."""
        path = f"/dicomweb/studies/{study}/series/{series}/instances/{instance}"
        return self._ask("GET", path, headers={"Accept": PART10}).content

    def store(self, part10: bytes) -> None:
        """Store one object."""
        headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        self._ask("POST", "/dicomweb/studies", content=part10, headers=headers)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise UpstreamUnavailable(f"{method} failed: {type(error).__name__}") from error
        if not answer.is_success:
            raise _error(answer)
        return answer


def _frame_paths(study: str, instances: list[tuple[str, str, int]]) -> Iterator[str]:
    for series, instance, frames in instances:
        for number in range(1, frames + 1):
            yield f"/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{number}"


def _error(answer: httpx.Response) -> UpstreamError:
    try:
        reason = answer.json().get("detail", "")
    except ValueError:
        reason = answer.text[:200]
    return UpstreamError(f"answered {answer.status_code}: {reason}")
