"""A bucket by way of botocore: signatures, credentials, retries and connections are its work.

Credentials come by its standard chain: the environment, shared files, a web identity, or
what the machine is given. Retries follow its ``standard`` mode: with exponential backoff and
jitter, for what is worth trying again, out of a budget that a failing store uses up.

Every upload's SHA-256 is in its signature, so that a store refuses bytes that changed on the
way. What is read is proved by whoever asked: records are sealed, blobs are named by their digest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from nearframe.errors import ConfigurationError, Conflict, NearframeError, NotFound, Refused
from nearframe.log import logger
from nearframe.storage.s3.bucket import NO_VERSION, Listed
from nearframe.storage.s3.failures import NOT_THERE, S3Failure, store_errors
from nearframe.storage.s3.location import S3Location, S3Options

#: Answers that are cut short are asked for again this often: botocore retries up to the headers only.
_READS: Final = 3
_CONNECT_S: Final = 5.0
#: What a store says that does not know conditional requests.
_UNCONDITIONAL: Final = ("NotImplemented", "InvalidArgument", "InvalidRequest", "MethodNotAllowed", "501")
_EXISTS: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")

_log = logger(__name__)


class S3Bucket:
    """A `Bucket` on an S3 server.

    Objects are created under the condition that there is none of that name (``If-None-Match: *``).
    A store that does not know it is told without, and one with versions may ignore it (Ceph 16):
    there a second object of a name would be another version. Names are random or digests, so none
    meets its equal, and readers that know a version ask for that one.

    Parameters
    ----------
    on_request
        Told the operation of each call that is made.

    Raises
    ------
    ConfigurationError
        If there is no such bucket, or we may not use it.
    """

    def __init__(
        self, location: S3Location, options: S3Options, on_request: Callable[[str], None] = lambda operation: None
    ) -> None:
        self._location = location
        self._bucket = location.bucket
        self._client = _client(options)
        self._on_request = on_request
        self._connections = threading.BoundedSemaphore(options.connections)
        self._conditional = True
        self._can_hold: bool | None = None
        self._check()

    def put(self, name: str, data: bytes) -> str:
        key = self._location.key(name)
        try:
            return self._create(Key=key, Body=data)
        except S3Failure as failure:
            if failure.code not in _EXISTS:
                raise failure.mapped() from failure
        # An answer was lost, and the object is ours; or the name is taken.
        version = str(self._ask("head_object", Key=key).get("VersionId", NO_VERSION))
        if self.get(name, version=version) != data:
            raise Conflict(f"the object store has another object under the name of {name.partition('/')[0]} already")
        return version

    def put_parts(self, name: str, parts: Iterable[bytes]) -> str:
        key = self._location.key(name)
        upload = self._ask("create_multipart_upload", Key=key)["UploadId"]
        try:
            tags = []
            for number, part in enumerate(parts, start=1):
                answer = self._ask("upload_part", Key=key, UploadId=upload, PartNumber=number, Body=part)
                tags.append({"PartNumber": number, "ETag": answer["ETag"]})
            whole = self._ask("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": tags})
        except BaseException:
            # If this does not reach the store either, `abort_uploads` finds it later.
            with suppress(NearframeError):
                self._ask("abort_multipart_upload", Key=key, UploadId=upload)
            raise
        return str(whole.get("VersionId", NO_VERSION))

    def get(self, name: str, start: int = 0, stop: int | None = None, version: str = NO_VERSION) -> bytes:
        if stop is not None and stop <= start:
            return b""
        wanted: dict[str, Any] = {"Key": self._location.key(name)}
        if version:
            wanted["VersionId"] = version
        if start or stop is not None:
            wanted["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        for attempt in range(_READS):
            try:
                return self._read(wanted)
            except S3Failure as failure:
                if failure.code in NOT_THERE:
                    raise NotFound("object") from failure
                if failure.code in ("InvalidRange", "416"):
                    return b""
                if not failure.is_cut_short or attempt == _READS - 1:
                    raise failure.mapped() from failure
        raise AssertionError("the last attempt returns or raises")

    def has(self, name: str) -> bool:
        try:
            self._call("head_object", Key=self._location.key(name))
        except S3Failure as failure:
            if failure.code not in NOT_THERE:
                raise failure.mapped() from failure
            return False
        return True

    def list(self, prefix: str) -> Iterator[Listed]:
        wanted: dict[str, Any] = {"Prefix": self._location.key(prefix)}
        while True:
            page = self._ask("list_objects_v2", **wanted)
            for one in page.get("Contents", ()):
                yield Listed(self._location.name(one["Key"]), one["Size"], one["LastModified"])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def remove(self, name: str, version: str = NO_VERSION) -> None:
        wanted = {"Key": self._location.key(name)} | ({"VersionId": version} if version else {})
        try:
            self._call("delete_object", **wanted)
        except S3Failure as failure:
            if failure.code == "AccessDenied":
                raise Refused(
                    "the object store lets nobody remove an object: legal hold, retention or policy"
                ) from failure
            if failure.code not in NOT_THERE:
                raise failure.mapped() from failure

    def abort_uploads(self, prefix: str, before: datetime) -> int:
        wanted: dict[str, Any] = {"Prefix": self._location.key(prefix)}
        aborted = 0
        while True:
            page = self._ask("list_multipart_uploads", **wanted)
            for upload in page.get("Uploads", ()):
                if upload["Initiated"] < before:
                    with suppress(NotFound):
                        self._ask("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
                    aborted += 1
            if not page.get("IsTruncated"):
                return aborted
            wanted |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def hold(self, name: str, version: str, *, held: bool) -> None:
        if not self.can_hold():
            raise Refused(
                "the bucket has no object lock, which legal holds need: it is given to a bucket when it is made"
            )
        wanted = {"Key": self._location.key(name), "LegalHold": {"Status": "ON" if held else "OFF"}}
        self._ask("put_object_legal_hold", **wanted | ({"VersionId": version} if version else {}))

    def can_hold(self) -> bool:
        if self._can_hold is None:
            try:
                answer = self._call("get_object_lock_configuration")
                self._can_hold = answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"
            except S3Failure as failure:
                if failure.status not in (400, 404, 409, 501):
                    raise failure.mapped() from failure
                self._can_hold = False
        return self._can_hold

    def close(self) -> None:
        self._client.close()

    def _check(self) -> None:
        try:
            self._call("head_bucket")
        except S3Failure as failure:
            raise failure.at_start(self._bucket) from failure

    def _create(self, **wanted: Any) -> str:
        if self._conditional:
            try:
                return str(self._call("put_object", IfNoneMatch="*", **wanted).get("VersionId", NO_VERSION))
            except S3Failure as failure:
                if failure.code not in _UNCONDITIONAL:
                    raise
                _log.info("s3_without_conditions", error=failure)
                self._conditional = False
        return str(self._call("put_object", **wanted).get("VersionId", NO_VERSION))

    def _read(self, wanted: dict[str, Any]) -> bytes:
        with self._connections, store_errors():
            answer = self._request("get_object", wanted)
            with answer["Body"] as body:
                data: bytes = body.read()
        return data

    def _ask(self, operation: str, **wanted: Any) -> dict[str, Any]:
        """Make a call, with its failure in our words."""
        try:
            return self._call(operation, **wanted)
        except S3Failure as failure:
            raise failure.mapped() from failure

    def _call(self, operation: str, **wanted: Any) -> dict[str, Any]:
        with self._connections, store_errors():
            return self._request(operation, wanted)

    def _request(self, operation: str, wanted: dict[str, Any]) -> dict[str, Any]:
        self._on_request(operation)
        answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **wanted)
        return answer


def _client(options: S3Options) -> Any:
    """Make botocore's client; importing it takes a fifth of a second, so only who needs it does."""
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ModuleNotFoundError as error:
        raise ConfigurationError("an object store needs its client: pip install 'nearframe[s3]'") from error
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=options.timeout_s,
        max_pool_connections=options.connections,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        # Older servers refuse the checksums in trailers that botocore sends by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if options.path_style else "auto", "payload_signing_enabled": True},
    )
    try:
        return Session().create_client(
            "s3",
            region_name=options.region or None,
            endpoint_url=options.endpoint or None,
            verify=str(options.ca) if options.ca else None,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"the object store cannot be spoken to as configured: {error}") from error
