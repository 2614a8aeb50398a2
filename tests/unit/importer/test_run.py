"""Imports over real HTTP: everything arrives once, and what goes wrong is told file by file."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nearframe import importer
from nearframe.errors import AccessError, ConfigurationError, UpstreamError, UpstreamUnavailable
from nearframe.importer import patience
from nearframe.importer.report import NoProgress
from nearframe.importer.server import TENANT_HEADER
from tests.unit.importer.conftest import StoreServer, dicom_file


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(patience, "_MAX_DELAY_S", 0.002)


@pytest.fixture
def options(server: StoreServer, tmp_path: Path) -> Any:
    def make(**changes: Any) -> importer.Options:
        return replace(importer.Options(url=server.url, state=tmp_path / "state", retry_for_s=5.0), **changes)

    return make


def files_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("IM*")]


def test_everything_arrives_once(server: StoreServer, folder: Path, options: Any) -> None:
    report = importer.run([folder], options())
    assert sorted(server.files.elements()) == sorted(files_of(folder))
    assert (report.found, report.stored, report.other) == (10, 10, 2)
    assert report.complete
    assert report.stored_bytes == report.sent_bytes == sum(map(len, files_of(folder)))


def test_batches_and_connections_are_bounded(server: StoreServer, folder: Path, options: Any) -> None:
    importer.run([folder], options(batch_files=3, parallel=2))
    assert [len(parts) for parts in server.requests] == [3, 3, 3, 1] or sorted(map(len, server.requests)) == [
        1,
        3,
        3,
        3,
    ]
    assert len(server.connections) <= 2, "connections are kept alive"


def test_large_files_are_streamed_alone(server: StoreServer, folder: Path, options: Any) -> None:
    importer.run([folder], options(batch_bytes=4000))
    assert sorted(server.files.elements()) == sorted(files_of(folder))
    assert all(len(parts) == 1 or sum(map(len, parts)) <= 4000 for parts in server.requests)


def test_archives_are_sent_from_where_they_are(server: StoreServer, tmp_path: Path, options: Any) -> None:
    inner, outer = io.BytesIO(), tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}", dicom_file(f"1.2.{number}"))
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", dicom_file("1.2.5"))
        archive.writestr("inner.zip", inner.getvalue())
    report = importer.run([outer], options())
    assert report.stored == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outer.zip", "state"]


def test_one_bad_file_does_not_spoil_its_batch(server: StoreServer, folder: Path, options: Any) -> None:
    server.failing = {"1.2.3.4": 0xC000}
    report = importer.run([folder], options())
    assert report.stored == 9
    (problem,) = report.failed
    assert problem.name.endswith("IM004")
    assert (problem.code, problem.reason) == (0xC000, "the server cannot read it")
    assert not report.complete
    assert len(server.requests) == 1


def test_warnings_name_their_file(server: StoreServer, folder: Path, options: Any) -> None:
    server.warning = {"1.2.3.7": 0xB000}
    report = importer.run([folder], options())
    assert report.stored == 10
    assert report.complete
    assert [problem.name[-5:] for problem in report.warned] == ["IM007"]


def test_a_file_nothing_was_said_of_is_sent_on_its_own(server: StoreServer, folder: Path, options: Any) -> None:
    (folder / "nameless").write_bytes(bytes(128) + b"DICM")
    unread = {"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}}
    good = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"Value": [f"1.2.3.{n}"]}} for n in range(10)]}}
    server.script.extend([lambda _: (202, good | unread), lambda _: (409, unread)])
    report = importer.run([folder], options(parallel=1))
    assert report.stored == 10
    assert [Path(problem.name).name for problem in report.failed] == ["nameless"]
    assert [len(parts) for parts in server.requests] == [11, 1]


def test_a_server_that_says_nothing_is_asked_file_by_file(server: StoreServer, folder: Path, options: Any) -> None:
    server.script.append(lambda _: (400, {}))
    report = importer.run([folder], options())
    assert report.stored == 10
    assert len(server.requests) == 11


def test_busy_and_broken_lines_are_tried_again(server: StoreServer, folder: Path, options: Any) -> None:
    resources = {"00081198": {"Value": [{"00081155": {"Value": ["1"]}, "00081197": {"Value": [0xA700]}}]}}
    server.script.extend([lambda _: (503, {}), lambda _: None, lambda _: (409, resources)])
    report = importer.run([folder], options())
    assert report.stored == 10
    assert report.retries == 3
    assert report.complete


def test_gives_up_and_goes_on_where_it_was(server: StoreServer, folder: Path, options: Any) -> None:
    server.script.append(server.answer)
    server.script.extend([lambda _: (503, {})] * 100_000)
    first = importer.run([folder], options(batch_files=4, parallel=1, retry_for_s=0.01))
    assert isinstance(first.stopped_by, UpstreamUnavailable)
    assert first.stored == 4
    server.script.clear()
    server.requests.clear()
    second = importer.run([folder], options())
    assert (second.resumed, second.stored) == (4, 6)
    assert sum(server.files.values()) == 6
    third = importer.run([folder], options())
    assert (third.resumed, third.stored) == (0, 10), "a complete import leaves no journal"


def test_again_sends_everything(server: StoreServer, folder: Path, options: Any) -> None:
    server.failing = {"1.2.3.0": 0xC000}
    importer.run([folder], options())
    assert importer.run([folder], options()).resumed == 9
    assert importer.run([folder], options(resume=False)).resumed == 0


@pytest.mark.parametrize(("status", "error"), [(401, AccessError), (404, UpstreamError), (507, UpstreamUnavailable)])
def test_a_target_that_takes_nothing_ends_the_import(
    server: StoreServer, folder: Path, options: Any, status: int, error: type[Exception]
) -> None:
    server.script.extend([lambda _: (status, {"detail": "not here"})] * 50)
    report = importer.run([folder], options(batch_files=1, parallel=1))
    assert type(report.stopped_by) is error
    assert len(server.requests) == 1


def test_files_that_cannot_be_read_are_named(server: StoreServer, folder: Path, options: Any, tmp_path: Path) -> None:
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 and nothing more")
    archive = tmp_path / "bad crc.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a", dicom_file("1.9", size=9000))
    data = bytearray(archive.read_bytes())
    data[5000] ^= 0xFF
    archive.write_bytes(data)
    report = importer.run([folder, archive, tmp_path / "no such"], options())
    assert report.stored == 10
    assert sorted(Path(problem.name).name for problem in report.failed) == ["bad crc.zip!a", "broken.zip", "no such"]


def test_a_large_file_that_cannot_be_read_fails_alone(server: StoreServer, tmp_path: Path, options: Any) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a", dicom_file("1.9", size=9000))
        out.writestr("b", dicom_file("1.10", size=9000))
    data = bytearray(archive.read_bytes())
    data[5000] ^= 0xFF
    archive.write_bytes(data)
    report = importer.run([archive], options(batch_bytes=1000, parallel=1))
    assert report.stored == 1
    assert [Path(problem.name).name for problem in report.failed] == ["a.zip!a"]
    assert report.stopped_by is None


def test_the_tenant_and_the_service_are_asked_for(server: StoreServer, folder: Path, options: Any) -> None:
    importer.run([folder], options(tenant="clinic-b"))
    assert server.headers[0][TENANT_HEADER] == "clinic-b"


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("http://h:8042", "http://h:8042/dicomweb"),
        ("http://h:8042/", "http://h:8042/dicomweb"),
        ("https://h/dicom-web/", "https://h/dicom-web"),
    ],
)
def test_where_the_service_is(url: str, service: str) -> None:
    assert importer.Options(url=url).service_url == service


@pytest.mark.parametrize("url", ["h:8042", "ftp://h", "http://", ""])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        importer.run([], importer.Options(url=url))


def test_progress_adds_up(server: StoreServer, folder: Path, options: Any) -> None:
    class Sums:
        def __init__(self) -> None:
            self.files, self.size_bytes, self.done = [0, 0], [0, 0], False

        def found(self, files: int, size_bytes: int) -> None:
            self.files[0] += files
            self.size_bytes[0] += size_bytes

        def searched(self) -> None:
            self.done = True

        def sent(self, files: int, size_bytes: int) -> None:
            self.files[1] += files
            self.size_bytes[1] += size_bytes

        def waiting(self, problem: str) -> None:
            raise AssertionError(problem)

    sums = Sums()
    server.failing = {"1.2.3.1": 0xC000}
    importer.run([folder], options(), sums)
    assert sums.done
    assert sums.files == [10, 10]
    assert sums.size_bytes[0] == sums.size_bytes[1]


def test_another_archive_at_the_same_url_gets_everything(server: StoreServer, folder: Path, options: Any) -> None:
    server.failing = {"1.2.3.0": 0xC000}
    server.status = {"feed": {"head": "first:7"}}
    importer.run([folder], options())
    server.status = {"feed": {"head": "first:19"}}
    assert importer.run([folder], options()).resumed == 9, "the same archive, further on"
    server.status = {"feed": {"head": "second:7"}}
    assert importer.run([folder], options()).resumed == 0


def test_an_edge_stands_for_its_upstream(server: StoreServer, folder: Path, options: Any) -> None:
    server.failing = {"1.2.3.0": 0xC000}
    server.status = {"feed": {"head": "edge:7"}, "upstream": {"cursor": "first:7"}}
    importer.run([folder], options())
    server.status = {"feed": {"head": "edge:8"}, "upstream": {"cursor": "second:1"}}
    assert importer.run([folder], options()).resumed == 0


@pytest.mark.parametrize("status", [{}, [], {"feed": None}, {"feed": {"head": 7}}, {"feed": {"head": "no cursor"}}])
def test_a_server_that_names_no_epoch_is_known_by_its_url(
    server: StoreServer, folder: Path, options: Any, status: object
) -> None:
    server.failing = {"1.2.3.0": 0xC000}
    server.status = status
    importer.run([folder], options())
    assert importer.run([folder], options()).resumed == 9


def test_a_server_that_is_away_is_asked_again_and_then_given_up(folder: Path, options: Any) -> None:
    said = []

    class Ear(NoProgress):
        def waiting(self, problem: str) -> None:
            said.append(problem)

    report = importer.run([folder], options(url="http://127.0.0.1:9", retry_for_s=0.01), Ear())
    assert isinstance(report.stopped_by, UpstreamUnavailable)
    assert "refused" in said[0]


def test_no_tls_where_tls_was_asked_for_is_said_at_once(server: StoreServer, folder: Path, options: Any) -> None:
    report = importer.run([folder], options(url=server.url.replace("http:", "https:"), retry_for_s=600.0))
    assert type(report.stopped_by) is UpstreamError
    assert "does not speak TLS" in str(report.stopped_by)


def test_a_state_folder_that_cannot_be_written(server: StoreServer, folder: Path, options: Any) -> None:
    with pytest.raises(ConfigurationError, match="--state"):
        importer.run([folder], options(state=folder / "readme.txt"))
