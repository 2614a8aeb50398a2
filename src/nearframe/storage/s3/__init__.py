"""Object stores that speak the S3 protocol: a bucket as a port, and a client behind it (ADR 0023)."""

from nearframe.storage.s3.bucket import Bucket, Listed
from nearframe.storage.s3.location import S3Location, S3Options

__all__ = ["Bucket", "Listed", "S3Location", "S3Options"]
