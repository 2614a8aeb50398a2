"""Where a command keeps backups, or finds them: a folder, or a place in a bucket."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.storage.s3 import S3Location, S3Options
from nearframe.upkeep.backup.vault import DirectoryVault, Vault

IN_BUCKET: Final = "s3://"
#: What help calls such a place.
PLACE: Final = "FOLDER|s3://BUCKET/PREFIX"


def open_vault(place: str, settings: Settings, *, writes: bool = False) -> AbstractContextManager[Vault]:
    """Open a vault, for the time of a block.

    Raises
    ------
    ConfigurationError
        If there is no such folder or bucket.
    Busy
        If another process writes to it.
    """
    if not place.startswith(IN_BUCKET):
        return DirectoryVault(Path(place), create=writes)
    # Importing the client takes longer than most commands: only who needs it does.
    from nearframe.storage.s3.client import S3Bucket
    from nearframe.upkeep.backup.s3vault import S3Vault

    bucket = S3Bucket(S3Location.parse(place), S3Options.of(settings))
    return S3Vault(bucket, SystemClock(), writes=writes)
