"""Each illness, made in a home that is otherwise well."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nearframe.config import Settings
from nearframe.errors import UpstreamUnavailable
from nearframe.listener.devtls import ensure
from nearframe.query import health
from nearframe.query.health import Finding, State
from nearframe.settingkinds import Address
from nearframe.storage.catalogue import migrations, open_catalogue, schema
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.packs.locks import is_owned
from nearframe.storage.ports import Held, NewHold
from nearframe.storage.role import UNFINISHED, role_of, set_role
from nearframe.upkeep.doctor import stores
from nearframe.upkeep.doctor.examine import CHECKS, examine, worst
from nearframe.upkeep.doctor.patient import Answer, Patient
from nearframe.upkeep.lastscrub import LastScrub, remember
from tests.packs import lose_index
from tests.postgres import create_schema
from tests.syncing import Shelves, ct_series


def now() -> datetime:
    """Return the time; files are written at it, whenever these tests come to run."""
    return datetime.now(UTC)


def silent(url: str, *, is_own: bool) -> Answer:
    raise UpstreamUnavailable(f"{url} does not answer")


def patient_of(home: Path, **settings: Any) -> Patient:
    chosen = Settings(home=home, http=Address("127.0.0.1", 0), disk_reserve_bytes=0, **settings)
    return Patient(chosen, role_of(home), is_owned(home), datetime.now(UTC), silent)


def findings(patient: Patient) -> dict[str, Finding]:
    """Return what is not well, by check."""
    found = list(examine(patient))
    assert [one.name for one in found] == [name for name, _, _ in CHECKS]
    return {one.name: one.finding for one in found if one.finding.state is not State.OK}


def reason_of(patient: Patient, check: str) -> str:
    return next(one.finding.reason for one in examine(patient) if one.name == check)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "home"
    shelves = Shelves.open(folder)
    shelves.put(ct_series(3))
    shelves.close()
    set_role(folder, "origin")
    folder.chmod(0o700)
    remember(folder, LastScrub(now()))
    return folder


@pytest.fixture
def home(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(health, "LITTLE_ROOM", 0)  # this machine's disk may be full
    return Path(shutil.copytree(model, tmp_path / "home"))


def test_nothing_is_wrong(home: Path) -> None:
    assert findings(replace(patient_of(home), is_deep=True)) == {}


def test_before_the_first_start(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert findings(patient_of(tmp_path / "home")) == {}
    found = findings(patient_of(tmp_path / "none"))
    assert list(found) == ["home"]
    assert "does not exist yet" in found["home"].reason


def test_a_home_that_is_a_file_or_unfinished(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in findings(patient_of(tmp_path / "file"))["home"].reason
    set_role(home, UNFINISHED)
    assert "run nearframe restore again" in findings(patient_of(home))["home"].reason
    set_role(home, "origin")
    (home / "forward.damaged-1.sqlite").touch()
    assert "set aside" in findings(patient_of(home))["home"].reason


def test_others_may_read_the_key_or_the_catalogue(home: Path) -> None:
    (home / "keys" / "root.key").chmod(0o644)
    assert "chmod 600" in findings(patient_of(home))["permissions"].reason
    (home / "keys" / "root.key").chmod(0o600)
    (home / "catalogue.sqlite").chmod(0o644)
    home.chmod(0o755)
    assert "chmod 700" in findings(patient_of(home))["permissions"].reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_another_user(home: Path) -> None:
    os.chown(home / "keys" / "ring", 1234, -1)
    assert "chown -R 0" in findings(patient_of(home))["permissions"].reason


def test_no_room(home: Path) -> None:
    patient = patient_of(home)
    full = replace(patient, settings=replace(patient.settings, disk_reserve_bytes=1 << 60))
    assert "nothing more is taken in" in findings(full)["disk"].reason


def test_a_clock_that_went_back(home: Path) -> None:
    patient = replace(patient_of(home), now=now() - timedelta(hours=2))
    found = findings(patient)["clock"]
    assert found.state is State.FAILING
    assert re.search(r" 1[12]\d minutes from now", found.reason)


def test_few_open_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert "256 files (4096 at most)" in findings(patient_of(home))["limits"].reason


@pytest.mark.parametrize("name", ["root.key", "ring"])
def test_a_lost_key(home: Path, name: str) -> None:
    (home / "keys" / name).unlink()
    found = findings(patient_of(home))["keys"]
    assert found.state is State.FAILING
    assert "put its copy back" in found.reason


def test_another_root_key(home: Path) -> None:
    (home / "keys" / "root.key").write_text("00" * 32)
    assert "another root key" in findings(patient_of(home))["keys"].reason


def test_a_lost_catalogue(home: Path) -> None:
    (home / "catalogue.sqlite").unlink()
    found = findings(replace(patient_of(home), is_deep=True))
    assert found["catalogue"].state is State.FAILING
    assert "cannot be made from them" in found["catalogue"].reason
    set_role(home, "edge")
    assert "from upstream again" in findings(patient_of(home))["catalogue"].reason


def test_a_damaged_catalogue(home: Path) -> None:
    data = (home / "catalogue.sqlite").read_bytes()
    (home / "catalogue.sqlite").write_bytes(data[:8192] + os.urandom(len(data) - 8192))
    assert findings(patient_of(home))["catalogue"].state is State.FAILING
    (home / "catalogue.sqlite").write_bytes(b"no database" * 1000)
    assert "is no catalogue" in findings(patient_of(home))["catalogue"].reason


def test_a_catalogue_of_another_release(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LATEST", migrations.LATEST + 1)
    assert "when it starts" in findings(patient_of(home))["catalogue"].reason
    monkeypatch.setattr(stores, "LATEST", migrations.LATEST - 1)
    assert "a newer release" in findings(patient_of(home))["catalogue"].reason


def test_a_catalogue_that_was_carried_elsewhere(home: Path) -> None:
    with closing(sqlite3.connect(home / "catalogue.sqlite")) as connection:
        connection.execute("UPDATE schema_version SET version = ?", (migrations.MOVED,))
        connection.commit()
    found = findings(patient_of(home))["catalogue"]
    assert found.state is State.FAILING
    assert "set database_url" in found.reason


@pytest.mark.postgresql
def test_a_database_whose_work_nobody_does(home: Path, postgres_server: str) -> None:
    url = create_schema(postgres_server, "doctor")
    patient = patient_of(home, database_url=url)
    assert findings(patient) == {}
    assert "no tables yet" in reason_of(patient, "catalogue")
    lease = {"name": "background", "holder": "origin-1", "token": 1, "taken_at": 0, "expires_at": 0}
    with closing(open_catalogue(url)) as catalogue:
        with catalogue.database.write() as connection:
            connection.execute(sa.insert(schema.lease).values(**lease))
        migrations.take_back(catalogue.database, migrations.LATEST - 1, now(), discard=False)
    found = findings(patient)["catalogue"]
    assert "when it starts" in found.reason, "it was not brought forward by being looked at"
    with closing(open_catalogue(url)):
        pass
    found = findings(patient)["duties"]
    assert (found.state, found.reason.partition(":")[0]) == (State.DEGRADED, "nobody does background")


def test_a_database_that_is_away(home: Path, tmp_path: Path) -> None:
    found = findings(patient_of(home, database_url=f"postgresql://nobody@/none?host={tmp_path}"))
    assert found["catalogue"].state is State.FAILING
    assert "database_url" in found["catalogue"].reason


def test_a_pack_that_is_gone_or_cut(home: Path) -> None:
    pack = home / "packs" / "00000001.seg"
    os.truncate(pack, pack.stat().st_size - 100)
    found = findings(patient_of(home))["packs"]
    assert found.state is State.FAILING
    assert "0 packs missing, 1 pack cut short" in found.reason
    pack.unlink()
    assert "1 pack missing" in findings(patient_of(home))["packs"].reason


def test_an_index_that_does_not_read(home: Path) -> None:
    lose_index(home)
    assert findings(patient_of(home)) == {}  # it is rebuilt at the next start
    (home / "packs" / "index" / "data.mdb").write_bytes(b"no index" * 1000)
    assert "it is rebuilt" in findings(patient_of(home))["packs"].reason


def test_contents_that_are_gone(home: Path) -> None:
    (home / "packs" / "00000001.seg").unlink()
    lose_index(home)
    found = findings(replace(patient_of(home), is_deep=True))
    assert "3 of 3 versions lack" in found["contents"].reason


def test_a_scrub_long_ago(home: Path) -> None:
    patient = replace(patient_of(home), now=now() + timedelta(days=90))
    assert "nothing was scrubbed for 9" in findings(patient)["scrub"].reason


def test_contents_that_the_last_scrub_found_damaged(home: Path) -> None:
    remember(home, LastScrub(now(), lost=2))
    found = findings(patient_of(home))["scrub"]
    assert found.state is State.DEGRADED
    assert "2 contents cannot be read" in found.reason
    set_role(home, "edge")
    assert "scrub" not in findings(patient_of(home, upstream=("http://a",))), "an edge fetches what it lost"


def test_certificates(home: Path, tmp_path: Path) -> None:
    files = ensure(tmp_path / "tls", now()).files
    settings: dict[str, Any] = {"tls_cert": files.certificate, "tls_key": files.key}
    patient = patient_of(home, **settings)
    assert findings(patient) == {}
    found = findings(replace(patient, now=now() + timedelta(days=4000)))
    assert "the certificate ended" in found["tls"].reason
    files.key.write_text("none")
    assert "do not fit together" in findings(patient)["tls"].reason


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield Address(*other.getsockname())


def test_a_port_that_another_program_has(home: Path, taken: Address) -> None:
    patient = patient_of(home)
    with_dicom = replace(patient, settings=replace(patient.settings, dicom=taken))
    assert f"another program listens at {taken}" in findings(with_dicom)["ports"].reason
    elsewhere = replace(patient, settings=replace(patient.settings, http=Address("192.0.2.1", 8042)))
    assert "set http to an address of this machine" in findings(elsewhere)["ports"].reason


def test_an_upstream_that_does_not_answer_or_has_another_time(home: Path) -> None:
    set_role(home, "edge")
    assert "no upstream is set" in findings(patient_of(home))["upstream"].reason
    patient = patient_of(home, upstream=("http://a", "http://b"))
    assert findings(patient)["upstream"].reason.count("does not answer") == 2
    late = replace(patient, ask=lambda url, is_own: Answer({}, now() - timedelta(hours=1)))
    assert "differ by 3" in findings(late)["upstream"].reason


def test_a_node_that_says_what_is_wrong_or_nothing(home: Path) -> None:
    running = replace(patient_of(home), is_running=True)
    assert "the node hangs" in findings(running)["node"].reason
    ill = {"status": "degraded", "checks": {"disk": {"state": "degraded", "reason": "full"}, "x": {"state": "ok"}}}
    told = replace(running, ask=lambda url, is_own: Answer(ill, None))
    assert findings(told)["node"] == Finding(State.DEGRADED, "disk: full")
    other = replace(running, ask=lambda url, is_own: Answer(None, None))
    assert "no nearframe node" in findings(other)["node"].reason
    well = replace(running, ask=lambda url, is_own: Answer({"status": "ok", "checks": {"disk": {"state": "ok"}}}, None))
    assert "node" not in findings(well)


def test_a_store_is_owned_while_somebody_works_in_it(home: Path, tmp_path: Path) -> None:
    assert not is_owned(tmp_path / "none")
    shelves = Shelves.open(home)
    assert is_owned(home)
    shelves.close()
    assert not is_owned(home)


def test_the_worst_counts(home: Path) -> None:
    assert worst(list(examine(patient_of(home)))) is State.OK
    (home / "keys" / "ring").unlink()
    assert worst(list(examine(patient_of(home)))) is State.FAILING


def test_what_is_kept_is_told(home: Path) -> None:
    rules = ({"keep_years": 10, "action": "delete"}, {"keep_years": 30, "Modality": "MG"})
    told = reason_of(patient_of(home, retention=rules), "retention")
    assert told == "2 rules, 1 of which delete; what is deleted goes for good after 90 days"
    assert "never goes for good" in reason_of(patient_of(home, purge_days=0), "retention")
    assert reason_of(patient_of(home), "holds") == ""
    shelves = Shelves.open(home)
    study = shelves.catalogue.feed(None, 1)[0].study_instance_uid
    held = Held(study_instance_uid=study)
    Holds(shelves.catalogue).place(NewHold("main", held, "counsel", "case 12", now()))
    shelves.close()
    assert reason_of(patient_of(home), "holds").startswith("1 hold: nearframe hold list")


def test_a_rule_that_cannot_be_read_is_named(home: Path) -> None:
    found = findings(patient_of(home, retention=({"keep_years": "ten"},)))
    assert found["retention"].state is State.FAILING
    assert "table 1: keep_years" in found["retention"].reason
