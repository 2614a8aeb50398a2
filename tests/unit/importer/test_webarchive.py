"""Reading a DICOMweb archive: pages, answers of all sorts, and importing from one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe import importer
from nearframe.errors import AccessError, ConfigurationError, NotFound, RequestError, UpstreamError, UpstreamUnavailable
from nearframe.importer import patience, webarchive
from nearframe.importer.patience import Patience
from nearframe.importer.server import service_url
from nearframe.importer.webarchive import RemoteInstance, WebArchive
from nearframe.wire import multipart
from tests.unit.importer.conftest import StoreServer, dicom_file, uid_of

FILES = [dicom_file(f"1.2.3.{number}", size=100 * number) for number in range(1, 8)]


class Fake:
    """An archive of one study, as a transport."""

    def __init__(self) -> None:
        self.files = {uid_of(data): data for data in FILES}
        self.page = 3
        self.raw: list[bytes] = []
        #: Answers by path, given instead.
        self.instead: dict[str, httpx.Response] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.raw.append(request.url.raw_path.partition(b"?")[0])
        if path in self.instead:
            return self.instead[path]
        if path == "/dicomweb/studies":
            return self._rows([{"0020000D": one("1.2.3")}], request)
        if path.endswith("/instances"):
            rows = [
                {"00080018": one(uid), "0020000E": one("1.2.3.0"), "00200013": one(-int(uid[6:]))} for uid in self.files
            ]
            return self._rows(rows, request)
        data = self.files.get(path.rpartition("/")[2])
        return httpx.Response(404) if data is None else in_parts(data)

    def _rows(self, rows: list[Any], request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        return httpx.Response(200, json=rows[offset : offset + self.page])


def one(value: Any) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def in_parts(*files: bytes) -> httpx.Response:
    heads = [multipart.part_head("b", "application/dicom", first=i == 0, length=len(f)) for i, f in enumerate(files)]
    body = b"".join(head + file for head, file in zip(heads, files, strict=True)) + multipart.closing("b")
    return httpx.Response(
        200, content=body, headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    )


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def archive(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebArchive]:
    with httpx.Client(transport=httpx.MockTransport(fake)) as client:
        monkeypatch.setattr(patience, "_FIRST_DELAY_S", 0.001)
        yield WebArchive(client, "http://a/dicomweb", Patience(0.002, lambda _: False, lambda _: None))


def test_pages_are_put_together_in_reading_order(archive: WebArchive) -> None:
    assert list(archive.studies()) == ["1.2.3"]
    assert [found.sop_instance_uid for found in archive.instances("1.2.3")] == [f"1.2.3.{n}" for n in range(7, 0, -1)]


def test_a_server_that_knows_no_pages(archive: WebArchive, fake: Fake) -> None:
    whole = [{"0020000D": one("1")}, {"0020000D": one("2")}]
    fake.instead["/dicomweb/studies"] = httpx.Response(200, json=whole)
    assert list(archive.studies()) == ["1", "2"]


@pytest.mark.parametrize("status", [204, 404])
def test_nothing_there(archive: WebArchive, fake: Fake, status: int) -> None:
    fake.instead["/dicomweb/studies/9/instances"] = httpx.Response(status)
    assert archive.instances("9") == []


def fetched(archive: WebArchive, uid: str = "1.2.3.1") -> bytes:
    found = archive.fetch(RemoteInstance("1.2.3", "1.2.3.0", uid))
    try:
        with found.open() as first, found.open() as again:
            assert first.read(4) == again.read(4)[:0] + found.read(0, 4)
        with found.open() as whole:
            return whole.read()
    finally:
        found.close()


def test_bytes_come_as_they_are_stored(archive: WebArchive) -> None:
    assert fetched(archive) == FILES[0]


def test_an_answer_without_parts(archive: WebArchive, fake: Fake) -> None:
    path = "/dicomweb/studies/1.2.3/series/1.2.3.0/instances/1.2.3.1"
    fake.instead[path] = httpx.Response(200, content=FILES[1], headers={"Content-Type": "application/dicom"})
    assert fetched(archive) == FILES[1]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(404), NotFound),
        (in_parts(), NotFound),
        (httpx.Response(403), AccessError),
        (httpx.Response(500), RequestError),
        (httpx.Response(406), RequestError),
        (httpx.Response(302), UpstreamError),
        (httpx.Response(503), UpstreamUnavailable),
        (
            httpx.Response(200, content=b"--b\r\n", headers={"Content-Type": "multipart/related; boundary=b"}),
            RequestError,
        ),
    ],
)
def test_what_cannot_be_had(archive: WebArchive, fake: Fake, answer: httpx.Response, error: type[Exception]) -> None:
    fake.instead["/dicomweb/studies/1.2.3/series/1.2.3.0/instances/1.2.3.1"] = answer
    with pytest.raises(error):
        fetched(archive)


def test_no_dicomweb_service(archive: WebArchive, fake: Fake) -> None:
    fake.instead["/dicomweb/studies"] = httpx.Response(200, text="<html>")
    with pytest.raises(UpstreamError, match="DICOMweb service"):
        list(archive.studies())


def test_a_uid_is_one_segment_of_a_path(archive: WebArchive, fake: Fake) -> None:
    archive.instances("../../secret")
    assert set(fake.raw) == {b"/dicomweb/studies/..%2F..%2Fsecret/instances"}
    assert RemoteInstance("a/b", "c", "d").path == "/studies/a%2Fb/series/c/instances/d"


def test_urls() -> None:
    assert service_url("http://h:1", "--to") == "http://h:1/dicomweb"
    assert service_url("https://h/dicom-web/", "--to") == "https://h/dicom-web"
    with pytest.raises(ConfigurationError, match="--to wants"):
        service_url("h:1", "--to")


# -- importing from one ----------------------------------------------------------------------


@pytest.fixture
def imported(
    server: StoreServer, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., importer.Report]:
    """Import from the fake archive into the store server."""
    made = importer.run.__globals__["http_client"]

    def client_of(tenant: str, *more: Any) -> httpx.Client:
        if tenant == "fake":
            return httpx.Client(transport=httpx.MockTransport(fake))
        client: httpx.Client = made(tenant, *more)
        return client

    monkeypatch.setitem(importer.run.__globals__, "http_client", client_of)
    options = importer.Options(url=server.url, state=tmp_path / "state", retry_for_s=1.0)

    def run(**changes: Any) -> importer.Report:
        return importer.run([importer.WebSource("http://a", tenant="fake")], replace(options, **changes))

    return run


def test_everything_arrives_once(server: StoreServer, imported: Callable[..., importer.Report]) -> None:
    report = imported()
    assert sorted(server.files.elements()) == sorted(FILES)
    assert (report.found, report.stored, report.complete) == (7, 7, True)
    assert report.found_bytes == report.stored_bytes == sum(map(len, FILES))


def test_large_ones_go_alone(server: StoreServer, imported: Callable[..., importer.Report]) -> None:
    assert imported(batch_bytes=700, parallel=1).stored == 7
    assert sorted(len(parts) for parts in server.requests) != [7]
    assert sorted(server.files.elements()) == sorted(FILES)


def test_one_that_cannot_be_had_costs_no_other(
    server: StoreServer, fake: Fake, imported: Callable[..., importer.Report]
) -> None:
    fake.instead["/dicomweb/studies/1.2.3/series/1.2.3.0/instances/1.2.3.4"] = httpx.Response(500)
    report = imported()
    assert (report.stored, report.failed_count, report.complete) == (6, 1, False)
    assert report.failed[0].name.endswith("/instances/1.2.3.4")
    fake.instead.clear()
    again = imported()
    assert (again.resumed, again.stored) == (6, 1)


def test_an_archive_that_goes_away_ends_the_import(
    fake: Fake, imported: Callable[..., importer.Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webarchive, "_PAGE", 1)
    fake.instead["/dicomweb/studies/1.2.3/instances"] = httpx.Response(403)
    report = imported()
    assert isinstance(report.stopped_by, AccessError)


def test_reconciled_with_what_the_target_lists(
    server: StoreServer, imported: Callable[..., importer.Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [RemoteInstance("1.2.3", "1.2.3.0", f"1.2.3.{number}") for number in (1, 2, 3, 4, 5, 6, 99)]
    monkeypatch.setattr(WebArchive, "instances", _switching(WebArchive.instances, server.url, listed))
    report = imported(reconcile=True)
    compared = report.reconciliation
    assert compared is not None
    assert (compared.studies, compared.instances, compared.held, compared.others) == (1, 7, 6, 1)
    assert [problem.name[-7:] for problem in compared.missing] == ["1.2.3.7"]
    assert not report.complete
    assert json.loads(json.dumps(report.as_json()))["reconciliation"]["missing_count"] == 1


def _switching(usual: Any, url: str, listed: list[RemoteInstance]) -> Any:
    def instances(archive: WebArchive, study: str) -> list[RemoteInstance]:
        return listed if archive._url.startswith(url) else usual(archive, study)

    return instances
