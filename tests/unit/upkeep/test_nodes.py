"""Contents that another node has: many by one request, and past those it cannot read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nearframe.errors import UpstreamError, UpstreamUnavailable
from nearframe.ids import Digest, parse_digest, sha256
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep import nodes
from nearframe.upkeep.nodes import NodeCopies
from nearframe.wire import contentstream

STUDY, OTHER = StudyRef("main", "1.2"), StudyRef("main", "1.3")
CONTENTS = [b"one" * 1000, b"two" * 500_000, b"", b"four", b"five" * 2_000_000, b"six"]


class Node:
    """A node that has `CONTENTS`, but breaks off within some."""

    def __init__(self) -> None:
        self.held = {sha256(content): content for content in CONTENTS}
        self.damaged: set[Digest] = set()
        self.asked: list[tuple[str, int]] = []
        self.client = httpx.Client(transport=httpx.MockTransport(self._answer), base_url="http://node")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        digests = [parse_digest(text) for text in json.loads(request.content)["digests"]]
        self.asked.append((request.url.path, len(digests)))
        return httpx.Response(200, content=self._stream(digests))

    def _stream(self, digests: list[Digest]) -> Iterator[bytes]:
        for digest in digests:
            if digest not in self.held:
                yield contentstream.absence(digest)
                continue
            yield contentstream.opening(digest, len(self.held[digest]))
            if digest in self.damaged:
                raise httpx.RemoteProtocolError("cut")
            yield self.held[digest]
        yield contentstream.ending(len(digests))


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    with made.client:
        yield made


def lost(content: bytes, study: StudyRef = STUDY) -> LostContent:
    return LostContent(study, sha256(content), ContentKind.FRAME)


def found(node: Node, folder: Path, wanted: list[LostContent]) -> dict[LostContent, bytes]:
    copies = NodeCopies(node.client, folder).find(wanted)
    return {one: b"".join(copy.chunks()) for one, copy in copies if sum(map(len, copy.chunks())) == copy.length}


def test_many_come_by_one_request(node: Node, tmp_path: Path) -> None:
    wanted = [lost(content) for content in CONTENTS]
    assert list(found(node, tmp_path, wanted).values()) == CONTENTS
    assert node.asked == [("/api/studies/1.2/contents", len(CONTENTS))]
    assert list(tmp_path.iterdir()) == []


def test_each_study_is_asked_for_its_own(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_AT_ONCE", 2)
    wanted = [lost(CONTENTS[0]), lost(CONTENTS[3], OTHER), lost(CONTENTS[1]), lost(CONTENTS[5])]
    assert set(found(node, tmp_path, wanted)) == set(wanted)
    assert node.asked == [
        ("/api/studies/1.2/contents", 2),
        ("/api/studies/1.2/contents", 1),
        ("/api/studies/1.3/contents", 1),
    ]


def test_what_is_not_there_or_does_not_read_is_left_out(node: Node, tmp_path: Path) -> None:
    node.damaged = {sha256(CONTENTS[0]), sha256(CONTENTS[3])}
    del node.held[sha256(CONTENTS[1])]
    wanted = [lost(content) for content in CONTENTS]
    assert list(found(node, tmp_path, wanted).values()) == [CONTENTS[2], CONTENTS[4], CONTENTS[5]]


def test_what_is_no_stream_of_contents(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_stream", lambda digests: iter([b"something else" * 10]))
    with pytest.raises(UpstreamError, match="cannot be read"):
        found(node, tmp_path, [lost(CONTENTS[0])])


def test_a_node_that_is_away(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(digests: list[Digest]) -> Iterator[bytes]:
        yield from ()
        raise httpx.RemoteProtocolError("cut")

    monkeypatch.setattr(node, "_stream", cut)
    with pytest.raises(UpstreamUnavailable, match="is it running"):
        found(node, tmp_path, [lost(CONTENTS[0])])
