"""Where a bucket is, and how it is spoken to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from nearframe.config import Settings
from nearframe.errors import ConfigurationError

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and what Ceph allows besides.
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{2,62}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, and the prefix of the names in it that are ours: empty, or without the slash at its end."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``s3://bucket`` or ``s3://bucket/prefix``.

        Raises
        ------
        ConfigurationError
            If it is something else.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.rstrip("/").partition("/")
        if scheme != "s3" or not _BUCKET.fullmatch(bucket) or (prefix and not _PREFIX.fullmatch(prefix)):
            raise ConfigurationError(f"{url!r} names no place in a bucket; write s3://bucket/prefix")
        return cls(bucket, prefix)

    def __str__(self) -> str:
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part)

    def key(self, name: str) -> str:
        """Return the key of an object in the bucket."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def name(self, key: str) -> str:
        """Return the name of an object under our prefix."""
        return key[len(self.prefix) + 1 :] if self.prefix else key


@dataclass(frozen=True, slots=True)
class S3Options:
    """How an object store is spoken to.

    Attributes
    ----------
    endpoint
        URL of the store; empty for the one that the region says.
    region
        Empty for what the standard configuration says.
    path_style
        The bucket stands in the path, not in the host's name.
    ca
        Certificates (PEM) that the store's is checked against, if not the system's.
    timeout_s
        Longest wait for a byte of an answer.
    connections
        At most, at the same time.
    attempts
        At a request, the first one included; between them the client waits longer each time, at random.
    """

    endpoint: str = ""
    region: str = ""
    path_style: bool = False
    ca: Path | None = None
    timeout_s: float = 20.0
    connections: int = 16
    attempts: int = 4

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what a node's settings say."""
        return cls(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            path_style=settings.s3_path_style,
            ca=settings.s3_ca,
            timeout_s=settings.s3_timeout_s,
            connections=settings.s3_connections,
        )
