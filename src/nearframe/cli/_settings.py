"""Command-line options made from the table of settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from nearframe.config import SETTINGS, Setting, Settings, load
from nearframe.settingkinds import FLAG, URLS, Kind

T = TypeVar("T")


def add_settings(parser: argparse.ArgumentParser, groups: Iterable[str]) -> None:
    """Add ``--config`` and an option for each setting of `groups`."""
    _add_config(parser)
    _add_groups(parser, groups)


def add_setting(parser: argparse.ArgumentParser, name: str, groups: Iterable[str] = ()) -> None:
    """Add ``--config``, the option of one setting, and those of `groups`."""
    _add_config(parser)
    _add_option(parser, next(setting for setting in SETTINGS if setting.name == name))
    _add_groups(parser, groups)


def read_as(kind: Kind[T]) -> Callable[[str], T]:
    """Return the type of an option that is read as a kind of setting is."""

    def read(text: str) -> T:
        try:
            return kind.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def settings_from(options: argparse.Namespace) -> Settings:
    """Return the settings that file, environment and these options give together."""
    given = {s.name: getattr(options, s.name) for s in SETTINGS if getattr(options, s.name, None) is not None}
    return load(file=getattr(options, "config", None), environment=os.environ, arguments=given)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (default: nearframe.toml, if any)")


def _add_groups(parser: argparse.ArgumentParser, groups: Iterable[str]) -> None:
    for group in groups:
        section = parser.add_argument_group(f"{group} settings")
        for setting in SETTINGS:
            if setting.group == group:
                _add_option(section, setting)


def _add_option(section: argparse._ActionsContainer, setting: Setting) -> None:
    # Values stay strings here: `config.load` reads them and names the option when it cannot.
    default = setting.show(setting.default)
    prose = f"{setting.prose} Default: {default or 'none'}.".replace("%", "%%")
    if setting.kind is FLAG:
        section.add_argument(
            setting.option, dest=setting.name, action=argparse.BooleanOptionalAction, default=None, help=prose
        )
    elif setting.kind is URLS:
        section.add_argument(
            setting.option, dest=setting.name, action="append", metavar="URL", help=f"{prose} May be given repeatedly."
        )
    else:
        section.add_argument(setting.option, dest=setting.name, metavar=setting.kind.name.upper(), help=prose)
