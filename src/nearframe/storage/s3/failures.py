"""What an S3 server or the way to it failed at, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nearframe.errors import (
    BackendFailed,
    Busy,
    ConfigurationError,
    NearframeError,
    NoSpace,
    NotFound,
)

NOT_THERE: Final = ("NoSuchKey", "NoSuchVersion", "NoSuchUpload", "404")
_NO_BUCKET: Final = "NoSuchBucket"
_FULL: Final = ("QuotaExceeded", "InsufficientStorage", "ServiceQuotaExceededException", "507")
_FORBIDDEN: Final = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403", "401")
_PATIENCE: Final = ("SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "OperationAborted")


class S3Failure(Exception):
    """A call that failed.

    Attributes
    ----------
    code
        The server's, a status where it says no more, or the name of the client's error.
    status
        Of HTTP; 0 if there was no answer.
    is_cut_short
        The answer began and did not end.
    """

    def __init__(self, code: str, status: int = 0, *, is_cut_short: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.is_cut_short = is_cut_short

    def mapped(self) -> NearframeError:
        """Return the error that it is to whoever asked."""
        if self.code in NOT_THERE:
            return NotFound("object")
        if self.code in _FULL:
            return NoSpace(needed_bytes=1, free_bytes=0)
        if self.status == 0 or self.status >= 500 or self.code in _PATIENCE:
            return Busy(f"the object store does not answer as it should ({self.code}); try again")
        return BackendFailed(f"the object store refused a request ({self.code})")

    def at_start(self, bucket: str) -> NearframeError:
        """Return the error that it is when a bucket is opened."""
        if self.code in (_NO_BUCKET, *NOT_THERE):
            return ConfigurationError(f"there is no bucket {bucket}; make it first, or correct its name or s3_endpoint")
        if self.code in _FORBIDDEN:
            return ConfigurationError(f"we may not use the bucket {bucket} ({self.code}); check credentials and policy")
        if self.code in ("NoCredentialsError", "PartialCredentialsError"):
            return ConfigurationError(
                "there are no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or name a profile with AWS_PROFILE"
            )
        return self.mapped()


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the client's errors into `S3Failure`."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise S3Failure(str(error.response.get("Error", {}).get("Code", status)), status) from error
    except (IncompleteReadError, HTTPError, HTTPClientError) as error:
        raise S3Failure(type(error).__name__, is_cut_short=True) from error
    except BotoCoreError as error:
        raise S3Failure(type(error).__name__) from error
