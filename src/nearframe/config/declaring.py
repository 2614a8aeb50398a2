"""How a setting is declared: a field of its group, and the row that this makes in the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Final, TypeVar

from nearframe.settingkinds import Kind

T = TypeVar("T")

ENV_PREFIX: Final = "NEARFRAME_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes
    ----------
    unit
        Of a bare number: ``bytes``, ``s``, or empty.
    secret
        True if the value must not be shown.
    """

    name: str
    group: str
    kind: Kind[object]
    default: object
    prose: str
    unit: str
    secret: bool

    @property
    def variable(self) -> str:
        return ENV_PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    def show(self, value: object) -> str:
        """Write a value for people; a secret one is masked."""
        return "(hidden)" if self.secret and value else self.kind.show(value)


def setting(kind: Kind[T], default: T, prose: str, *, unit: str = "", secret: bool = False) -> T:
    """Return a field of a group of settings."""
    declared: T = field(default=default, metadata={"kind": kind, "prose": prose, "unit": unit, "secret": secret})
    return declared


def rows(group: type) -> Iterator[Setting]:
    """Yield what a group of settings declares, in the order of its fields. Its ``GROUP`` says what it is called."""
    called = vars(group)["GROUP"]
    for one in fields(group):
        yield Setting(name=one.name, group=called, default=one.default, **one.metadata)
