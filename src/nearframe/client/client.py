"""Studies from the nearest node that has them, kept in a folder: each byte once, each byte proved.

A plain, blocking client. It asks one node at a time, in the order given; when one fails in
the middle of a study it goes on at the next, from where it is. The next may be one that nobody
named but the node that was asked: it sends contents, proved like any, of the state that a named
node showed, and does not say which state is the current one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx

from nearframe.client.folder import Folder
from nearframe.client.node import Node, Others, Reach, raise_for_status, translated, trust_in
from nearframe.client.progress import Progress
from nearframe.client.receiver import AskAgain, Receiver
from nearframe.client.study import Study
from nearframe.context import Urgency
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import (
    AccessError,
    ConfigurationError,
    Conflict,
    IntegrityError,
    NearframeError,
    NotFound,
    RequestError,
    UpstreamError,
    UpstreamUnavailable,
)
from nearframe.query.headeredits import Part10Edits
from nearframe.wire.priority import write_priority
from nearframe.wire.syncstream import MEDIA_TYPE, DeltaDocument, Event, ManifestDocument, SyncStreamReader

#: How many of the lowest resolutions come of every picture before the rest of any: a quarter of rows and columns.
LEVELS: Final = 4
TENANT_HEADER: Final = "nearframe-tenant"
#: The first answer about a large study may have to be computed.
_TIMEOUT = httpx.Timeout(connect=5, read=60, write=30, pool=5)
# A node that brought nothing so often in a row is not asked again.
_FRUITLESS: Final = 2
#: More than any node gets by failing.
_BARRED: Final = 1000
_MAX_CORRECTIONS: Final = 8  # how often a node is told anew what is lacking


@dataclass(slots=True)
class SyncReport:
    """How a sync went.

    Attributes
    ----------
    how
        ``unchanged``, ``delta`` or ``manifest``: how the node said how the study stands.
    requests
        Round trips for the study; which other nodes there are is asked beside them.
    moved_bytes
        Of requests' and answers' bodies.
    study_bytes
        All files of the study together.
    problems
        What went wrong on the way, each with the node's URL.
    """

    how: str = ""
    requests: int = 0
    moved_bytes: int = 0
    study_bytes: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def saved_bytes(self) -> int:
        """What retrieving the files would have moved beyond what was."""
        return max(0, self.study_bytes - self.moved_bytes)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a study is wanted."""

    levels: int | None
    urgency: Urgency


class Client:
    """Studies of a tenant, from one or more nodes.

    Parameters
    ----------
    folder
        Where everything is kept; other clients may read there, one at a time may write.
    edges
        URLs of nodes, nearest first: edges, or the origin itself.
    tenant
        Asked about instead of each node's own.
    ca_cert
        PEM file of certificates to trust; None for the system's.
    only
        Whether no other nodes are asked than `edges`; else those that they know are asked when they fail.

    Examples
    --------
    >>> with Client("studies", ["http://edge.example:8043", "http://origin.example:8042"]) as client:  # doctest: +SKIP
    ...     study = client.sync("1.2.840.113619.2.1")
    ...     for instance in study.instances:
    ...         print(instance.transfer_syntax_uid, len(study.file(instance)))
    """

    def __init__(
        self,
        folder: Path | str,
        edges: Sequence[str],
        *,
        tenant: str = "",
        ca_cert: Path | None = None,
        only: bool = False,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> None:
        if not edges:
            raise ConfigurationError("a client needs the URL of a node to ask")
        self.folder = Folder(Path(folder))
        self.tenant = tenant
        headers = {"Accept-Encoding": "identity"} | ({TENANT_HEADER: tenant} if tenant else {})
        self._reach = Reach(headers, trust_in(ca_cert), timeout)
        self._nodes = [Node(url, self._reach) for url in dict.fromkeys(edges)]
        self._others = None if only else Others(self._reach)
        self.report = SyncReport()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for node in self._nodes:
            node.client.close()

    def search(self, filters: Mapping[str, str] | None = None) -> list[DICOMJSON]:
        """Return the studies that match, as the first node that answers finds them (QIDO-RS, PS3.18 section 10.6).

        Parameters
        ----------
        filters
            By keyword or tag: ``{"PatientName": "doe*", "StudyDate": "20240101-"}``.

        Raises
        ------
        RequestError
            If a node cannot search like that.
        UpstreamError
            If no node answers.
        """
        problem: NearframeError = UpstreamUnavailable("no node answers")
        for node in self._nodes:
            try:
                with translated(node.url):
                    answer = node.client.get(
                        "/dicomweb/studies", params=dict(filters or {}), headers={"Accept": "application/dicom+json"}
                    )
                    raise_for_status(answer, node.url)
                    return [] if answer.status_code == httpx.codes.NO_CONTENT else list(answer.json())
            except UpstreamError as error:
                problem = error
        raise problem

    def study(self, study_instance_uid: str) -> Study:
        """Return a study as it is held, without asking anybody; raises `NotFound` if nothing of it is."""
        manifest = self.folder.study(self.tenant, study_instance_uid).manifest()
        if manifest is None:
            raise NotFound("study in the folder; sync it first")
        return Study(self.folder, self.folder.study(self.tenant, study_instance_uid), manifest)

    def sync(
        self,
        study_instance_uid: str,
        *,
        levels: int | None = LEVELS,
        urgency: Urgency = Urgency.ROUTINE,
        progress: Progress | None = None,
    ) -> Study:
        """Bring a study to where the nodes have it, and return it whole; `report` says what that took.

        Whatever stops it, all that has come is kept: call it again.

        Parameters
        ----------
        levels
            How many of the lowest resolutions of every picture come before the rest of any;
            None to have frames only as they are stored, for a machine that is quicker to
            receive than to decode.
        urgency
            What nodes take it for where several want something (RFC 9218).

        Raises
        ------
        NotFound
            If no node has such a study.
        AccessError
            If they refuse to show it.
        UpstreamError
            If no node, or all of them together, could give everything.
        Busy
            If another client writes to the folder.
        """
        progress = progress or Progress()
        self.report = SyncReport()
        with self.folder.locked():
            place = self.folder.study(self.tenant, study_instance_uid)
            receiver = Receiver(self.folder, place, Part10Edits(), progress)
            self._receive(study_instance_uid, receiver, _Wanted(levels, urgency), progress)
            place.drop_parts()
        study = self.study(study_instance_uid)
        self.report.study_bytes = study.size_bytes
        return study

    def _receive(self, uid: str, receiver: Receiver, wanted: _Wanted, progress: Progress) -> None:
        for one in self._nodes:
            one.fruitless = 0
        problem: NearframeError | None = None
        while (node := self._next_node()) is not None:
            before = self._marker(receiver)
            try:
                self._ask(node, uid, receiver, wanted, progress)
                if receiver.is_whole:
                    return
                error: NearframeError = UpstreamError(f"{node.url} lacks a part of the study just now")
            except (UpstreamError, RequestError, AccessError, IntegrityError) as raised:
                error = raised
            if not node.is_found:
                problem = _graver(problem, error)
            if self._is_final(error, receiver, wanted.levels):
                node.fruitless = _BARRED
            else:
                node.fruitless = node.fruitless + 1 if self._marker(receiver) == before else 1
            self.report.problems.append((node.url, str(error)))
            progress.failed(node.url, str(error))
            self._find_others()
        if isinstance(problem, IntegrityError):
            raise UpstreamError(
                f"no node gave the whole study; the last one sent what is false: {problem}"
            ) from problem
        raise problem or UpstreamUnavailable("no node answers")

    def _next_node(self) -> Node | None:
        """Return the nearest node that is worth asking, those that failed least first."""
        # Those that were found have nothing to say before one that was named has shown the state.
        may_find = bool(self.report.how)
        worth = [node for node in self._nodes if node.fruitless < _FRUITLESS and (may_find or not node.is_found)]
        return min(worth, key=lambda node: node.fruitless, default=None)

    def _find_others(self) -> None:
        """Add the nodes that a node knows, once its list has come."""
        if self._others is None:
            return
        known = {node.url.rstrip("/") for node in self._nodes}
        self._nodes += [Node(url, self._reach, is_found=True) for url in self._others.found() if url not in known]

    def _ask(self, node: Node, uid: str, receiver: Receiver, wanted: _Wanted, progress: Progress) -> None:
        """Make requests to one node until it has said all it can."""
        for _ in range(_MAX_CORRECTIONS):
            try:
                with translated(node.url):
                    self._exchange(node, uid, receiver, wanted, progress)
                return
            except AskAgain:
                continue
        raise UpstreamError(f"{node.url} does not take up what it is told is lacking")

    def _exchange(self, node: Node, uid: str, receiver: Receiver, wanted: _Wanted, progress: Progress) -> None:
        path = f"/api/studies/{quote(uid, safe='')}/sync"
        asked = receiver.request(wanted.levels)
        more: dict[str, Any] = {"params": asked.to_query()} if asked.is_plain else {"json": asked.to_json()}
        if wanted.urgency is not Urgency.ROUTINE:
            more["headers"] = {"Priority": write_priority(wanted.urgency).decode()}
        reader = SyncStreamReader()
        self.report.requests += 1
        receiver.begin()
        with node.client.stream("GET" if asked.is_plain else "POST", path, **more) as answer:
            self.report.moved_bytes += len(answer.request.content)
            raise_for_status(answer, node.url)
            if answer.status_code == httpx.codes.NO_CONTENT:
                receiver.nothing_new()
                self.report.how = self.report.how or receiver.how
                return
            if answer.headers.get("content-type") != MEDIA_TYPE:
                raise UpstreamError(f"{node.url} does not answer as a nearframe node does")
            try:
                for chunk in answer.iter_raw():
                    self.report.moved_bytes += len(chunk)
                    progress.received(len(chunk))
                    for event in reader.feed(chunk):
                        _check_is_named(node, event)
                        receiver.take(event)
                    if self._others is not None and not receiver.is_whole:
                        self._others.ask(node.url)
                reader.close()
            finally:
                receiver.cut()
                self.report.how = self.report.how or receiver.how

    @staticmethod
    def _is_final(error: NearframeError, receiver: Receiver, levels: int | None) -> bool:
        """Return whether a node is not worth asking again: it refused, or sent what is false."""
        if isinstance(error, IntegrityError):
            return receiver.rebuilds or levels is None  # else the stored frames are asked for next
        return isinstance(error, RequestError | AccessError)

    @staticmethod
    def _marker(receiver: Receiver) -> tuple[bytes | None, int]:
        root = None if receiver.manifest is None else receiver.manifest.root
        return root, receiver.kept_bytes


def _check_is_named(node: Node, event: Event) -> None:
    """Raise if a node that was found shows a state of its own: only what was named decides how a study stands."""
    if node.is_found and isinstance(event, ManifestDocument | DeltaDocument):
        raise Conflict(f"{node.url} has the study in another state")


def _graver(before: NearframeError | None, now: NearframeError) -> NearframeError:
    """Return what to tell if all fail: that one node has no such study says less than that another is away."""
    return before if before is not None and isinstance(now, NotFound) and not isinstance(before, NotFound) else now
