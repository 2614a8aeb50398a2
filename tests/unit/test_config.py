from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.config import SETTINGS, Settings, load
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import Address
from nearframe.units import GIB, MIB


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no settings file lies about."""
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_sources_every_setting_has_its_default() -> None:
    assert load(environment={}) == Settings()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_default_survives_being_written_and_read(setting) -> None:  # type: ignore[no-untyped-def]
    if setting.default is None:
        assert setting.kind.read("") is None
    else:
        assert setting.kind.read(setting.kind.show(setting.default)) == setting.default


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    file = write(tmp_path / "n.toml", 'search_limit = 1\ncodec_threads = 1\ntenant = "file"\n')
    settings = load(
        file=file,
        environment={"NEARFRAME_SEARCH_LIMIT": "2", "NEARFRAME_CODEC_THREADS": "2"},
        arguments={"search_limit": "3", "http": None},
    )
    assert (settings.search_limit, settings.codec_threads, settings.tenant) == (3, 2, "file")


def test_file_in_the_current_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path / "nearframe.toml", "search_limit = 7")
    assert load(environment={}).search_limit == 7


def test_file_named_by_the_environment(tmp_path: Path) -> None:
    named = write(tmp_path / "other.toml", 'disk_reserve_bytes = "2 GiB"\ncors_origins = ["https://a", "https://b"]')
    settings = load(environment={"NEARFRAME_CONFIG": str(named)})
    assert settings.disk_reserve_bytes == 2 * GIB
    assert settings.cors_origins == ("https://a", "https://b")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("http", "[::1]:0", Address("::1", 0)),
        ("http", "localhost:80", Address("localhost", 80)),
        ("segment_bytes", "64 MiB", 64 * MIB),
        ("segment_bytes", "134217728", 128 * MIB),
        ("insecure", "yes", True),
        ("max_parse_seconds", "2.5", 2.5),
        ("upstream", "https://origin.example/base/", ("https://origin.example/base",)),
        ("upstream", "http://a, http://b http://c", ("http://a", "http://b", "http://c")),
        ("upstream", "dicom://PACS@host:104", ("dicom://PACS@host:104",)),
        ("upstream", "dicom://PACS%20ONE", ("dicom://PACS%20ONE",)),
        ("networks", "10.1.0.0/16,2001:db8::/32", ("10.1.0.0/16", "2001:db8::/32")),
        ("name", " ward-7", "ward-7"),
        ("log_level", "DEBUG", "debug"),
        ("cors_origins", "https://a , https://b", ("https://a", "https://b")),
        ("tls_cert", "", None),
    ],
)
def test_values_as_text(name: str, given: str, expected: object) -> None:
    assert getattr(load(environment={f"NEARFRAME_{name.upper()}": given}), name) == expected


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("http", "8042", "HOST:PORT"),
        ("http", "localhost:99999", "HOST:PORT"),
        ("segment_bytes", "big", "64 MiB"),
        ("search_limit", "-1", "whole number"),
        ("search_limit", "1.5", "whole number"),
        ("insecure", "maybe", "true or false"),
        ("upstream", "ftp://x", "http"),
        ("upstream", "dicom://PACS@host:104/x", "dicom://TITLE@HOST:PORT"),
        ("log_format", "xml", "text, json"),
        ("home", "", "path"),
        ("max_parse_seconds", "nan", "number"),
    ],
)
def test_wrong_value_names_variable_and_remedy(name: str, given: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"NEARFRAME_{name.upper()}.*{says}"):
        load(environment={f"NEARFRAME_{name.upper()}": given})


def test_wrong_value_in_file_names_the_line(tmp_path: Path) -> None:
    file = write(tmp_path / "n.toml", '# ours\n\ntenant = "main"\nsearch_limit = "many"\n')
    with pytest.raises(ConfigurationError, match=r"n\.toml, line 4: search_limit cannot be 'many'"):
        load(file=file, environment={})


def test_unknown_setting_suggests_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path / "n.toml", "serach_limit = 5")
    with pytest.raises(
        ConfigurationError, match="line 1: no setting is called serach_limit; did you mean search_limit"
    ):
        load(file=file, environment={})
    with pytest.raises(ConfigurationError, match=r"NEARFRAME_QQQ.*settings\.md"):
        load(environment={"NEARFRAME_QQQ": "1"})


@pytest.mark.parametrize("text", ["a = ", "\0", "tenant = 'x'\ntenant = 'y'"])
def test_what_is_not_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="not TOML"):
        load(file=write(tmp_path / "n.toml", text), environment={})


def test_missing_file_is_an_error_only_when_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load(file=tmp_path / "absent.toml", environment={})


def test_secret_values_stay_out_of_messages_and_of_show(tmp_path: Path) -> None:
    setting = next(one for one in SETTINGS if one.name == "database_url")
    assert setting.show("postgresql://u:p@h/d") == "(hidden)"
    with pytest.raises(ConfigurationError) as caught:
        load(file=write(tmp_path / "n.toml", "database_url = 12345678"), environment={})
    assert "12345678" not in str(caught.value)


def test_certificate_and_key_come_together() -> None:
    with pytest.raises(ConfigurationError, match="tls_cert is set and tls_key is not"):
        load(environment={"NEARFRAME_TLS_CERT": "c.pem"})
    with pytest.raises(ConfigurationError, match="dicom_tls_key is set and dicom_tls_cert is not"):
        load(environment={"NEARFRAME_DICOM_TLS_KEY": "c.key"})
    with pytest.raises(ConfigurationError, match="hl7_tls_cert is set and hl7_tls_key is not"):
        load(environment={"NEARFRAME_HL7_TLS_CERT": "c.pem"})


def test_certificates_of_callers_are_not_asked_for_without_tls() -> None:
    environment = {"NEARFRAME_DICOM_TLS_CA": "clinic.pem"}
    assert load(environment=environment).dicom_tls_ca == Path("clinic.pem")  # of those whom we call
    with pytest.raises(ConfigurationError, match="without a certificate of its own the node speaks no TLS"):
        load(environment=environment | {"NEARFRAME_DICOM": "127.0.0.1:11112"})
    with pytest.raises(ConfigurationError, match="hl7_tls_ca is set and hl7_tls_cert is not"):
        load(environment={"NEARFRAME_HL7_TLS_CA": "clinic.pem", "NEARFRAME_HL7": "127.0.0.1:2575"})


def test_environment_of_the_tests_is_no_setting() -> None:
    assert load(environment={"NEARFRAME_TEST_DATA": "/x", "HOME": "/y"}) == Settings()


def test_what_reads_tables_names_their_file(tmp_path: Path) -> None:
    file = tmp_path / "nearframe.toml"
    file.write_text('name = "ward"\n[[edges]]\nname = "near"\n')
    settings = load(file=file, environment={"NEARFRAME_ROUTE": "[{}]"})
    assert settings.edges == ({"name": "near"},)
    for name, source in (("edges", str(file)), ("route", "NEARFRAME_ROUTE"), ("peers", "")):
        with pytest.raises(ConfigurationError) as caught, settings.reading(name):
            raise ConfigurationError("table 1")
        assert str(caught.value) == (f"{source}: table 1" if source else "table 1")
