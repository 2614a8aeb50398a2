"""Kinds of values that settings have: how each is read, and how it is written.

A value comes as the string of an environment variable or an argument, or as what TOML
gave. What cannot be read raises ValueError or TypeError with what is expected.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

from nearframe.units import format_duration, format_size_exact, parse_duration, parse_size

T = TypeVar("T")

#: Begins the URL of a peer that speaks DICOM's own protocol.
DICOM_SCHEME: Final = "dicom://"

#: Tables of a settings file, as TOML gave them: whoever uses them reads what is in them.
Tables: TypeAlias = tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a setting's value is read and shown.

    Attributes
    ----------
    name
        As help and docs call it: ``size``, ``HOST:PORT``.
    read
        Takes the string of an environment variable or argument, or the value TOML gave;
        raises ValueError or TypeError with a message that says what is expected.
    show
        Writes a value so that `read` takes it back.
    """

    name: str
    read: Callable[[object], T]
    show: Callable[[T], str] = str


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``127.0.0.1:8042``, ``[::1]:8042`` or ``localhost:8042``."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("expected HOST:PORT, for example 127.0.0.1:8042")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text in quotes")
    return value.strip()


def _read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return known[_read_text(value).lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _read_whole(value: object) -> int:
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def _read_number(value: object) -> float:
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError("expected a number, 0 or more")
    return float(value)


def _read_size(value: object) -> int:
    return parse_size(value) if isinstance(value, str) else _read_whole(value)


def _read_path(value: object) -> Path:
    text = _read_text(value)
    if not text:
        raise ValueError("expected a path")
    return Path(text).expanduser()


def _read_optional_path(value: object) -> Path | None:
    return None if value == "" else _read_path(value)


def _read_url(value: object) -> str:
    text = _read_text(value).rstrip("/")
    if text and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
        raise ValueError("expected an http:// or https:// URL without query")
    return text


def _read_upstream(value: object) -> str:
    text = _read_text(value)
    if text.startswith(DICOM_SCHEME):
        if not re.fullmatch(r"([^\s/@]+@)?[^\s/?#@]+", text.removeprefix(DICOM_SCHEME)):
            raise ValueError("expected dicom://TITLE@HOST:PORT, or dicom:// and the ae_title of one of [[peers]]")
        return text
    return _read_url(value)


def _read_urls(value: object) -> tuple[str, ...]:
    written = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(written, list | tuple):
        raise TypeError("expected a URL, or a list of URLs")
    urls = tuple(url for one in written if (url := _read_upstream(one)))
    if len(set(urls)) < len(urls):
        raise ValueError("expected each URL once")
    return urls


def _read_database_url(value: object) -> str:
    text = _read_text(value)
    if text and not re.match(r"postgres(ql)?://", text):
        raise ValueError("expected postgresql://user@host/database, or nothing for SQLite in the home folder")
    return text


def _read_list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise TypeError("expected a list of texts")
    return tuple(item.strip() for item in value if item.strip())


def _read_node_name(value: object) -> str:
    text = _read_text(value)
    if text and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("expected 1 to 64 letters, digits, dots, dashes and underscores")
    return text


def _read_networks(value: object) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(network)) for network in _read_list(value))
    except ValueError:
        raise ValueError("expected networks such as 10.1.0.0/16") from None


def _read_address(value: object) -> Address:
    return Address.parse(_read_text(value))


def _read_optional_address(value: object) -> Address | None:
    return None if value == "" else _read_address(value)


def _read_ae_title(value: object) -> str:
    text = _read_text(value)
    if not 0 < len(text) <= 16 or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ValueError("expected an AE title: 1 to 16 characters, no backslash")
    return text


def _read_duration(value: object) -> float:
    return parse_duration(value) if isinstance(value, str) and not _is_number(value) else _read_number(value)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).strip().isdigit()


def _read_tables(value: object) -> Tables:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("expected tables in the settings file, or as text a JSON array of objects") from None
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise TypeError("expected tables, each begun by its name in double brackets")
    return tuple(value)


def _show_tables(tables: Tables) -> str:
    return json.dumps(list(tables), ensure_ascii=False)


def choice(*allowed: str) -> Kind[str]:
    """Return the kind of one word of several."""

    def read(value: object) -> str:
        text = _read_text(value).lower()
        if text not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text

    return Kind("|".join(allowed), read)


TEXT = Kind("text", _read_text)
FLAG = Kind("flag", _read_flag, lambda value: "true" if value else "false")
COUNT = Kind("number", _read_whole)
NUMBER = Kind("number", _read_number, lambda value: f"{value:g}")
SIZE = Kind("size", _read_size, format_size_exact)
PATH = Kind("path", _read_path)
OPTIONAL_PATH = Kind("path", _read_optional_path, lambda value: "" if value is None else str(value))
URL = Kind("url", _read_url)
URLS = Kind("URL", _read_urls, ",".join)
DATABASE_URL = Kind("url", _read_database_url)
LIST = Kind("list", _read_list, ",".join)
NODE_NAME = Kind("name", _read_node_name)
NETWORKS = Kind("networks", _read_networks, ",".join)
ADDRESS = Kind("HOST:PORT", _read_address)
OPTIONAL_ADDRESS = Kind("HOST:PORT", _read_optional_address, lambda value: "" if value is None else str(value))
AE_TITLE = Kind("AE title", _read_ae_title)
#: Seconds; written with a unit.
DURATION = Kind("time", _read_duration, format_duration)
TABLES = Kind("tables", _read_tables, _show_tables)
