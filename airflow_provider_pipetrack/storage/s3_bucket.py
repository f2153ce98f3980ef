"""A part of an S3 bucket: objects are written, read, listed and removed, several at once, each call bounded in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from airflow_provider_pipetrack.storage.s3_errors import code_of
from airflow_provider_pipetrack.storage.sockets import shut_sockets_of

#: Limits that the hook alone does not set, in seconds; what the connection's ``config_kwargs`` say goes before them.
LIMITS: Mapping[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 3,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
    "max_pool_connections": 16,
}
_AT_ONCE = 16
_EXISTS = {"PreconditionFailed", "412"}
_MISSING = {"NoSuchKey", "404"}

S = TypeVar("S")
T = TypeVar("T")


class Bucket:
    """What is below a prefix of a bucket. Errors are the driver's.

    :param bucket: name of the bucket.
    :param root: the prefix, with a slash at its end; names of objects leave it out.
    :param connect: returns a new client of boto3; called when one is needed.
    """

    def __init__(self, bucket: str, root: str, connect: Callable[[], Any]) -> None:
        self.bucket = bucket
        self.root = root
        self._connect = connect
        self._client: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._threads: set[int] = set()
        self._given_up = False

    def make_ready(self) -> None:
        """Make the client."""
        self._open()

    def get(self, name: str) -> dict[str, Any] | None:
        """Return what is known of an object, its ``Content`` included, or None when there is none."""
        try:
            got = self._call("get_object", Key=self.root + name)
        except Exception as error:
            if code_of(error) in _MISSING:
                return None
            raise
        return {**got, "Content": got["Body"].read()}

    def put(self, name: str, body: bytes, **condition: str) -> bool:
        """Write an object; return False when the condition (``IfMatch``, ``IfNoneMatch``) does not hold.

        When another process writes the same object at this moment, S3 may refuse both; that is an error like any other.
        """
        try:
            self._call("put_object", Key=self.root + name, Body=body, **condition)
        except Exception as error:
            if code_of(error) not in _EXISTS:
                raise
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        self._call("delete_object", Key=self.root + name)

    def names(self, folder: str) -> list[str]:
        """Return the names of all objects in a folder, in their order."""
        return [item["Name"] for item in self.list(folder)]

    def list(self, folder: str) -> list[dict[str, Any]]:
        """Return all objects in a folder in the order of their names; ``Age`` is by the storage's own clock."""
        return [*self.behind(folder)]

    def behind(self, folder: str, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield objects in a folder as :meth:`list` returns them; who has enough leaves the others unasked.

        :param after: the name behind which to begin.
        """
        more = {"StartAfter": self.root + after} if after else {}
        while True:
            page = self._call("list_objects_v2", Prefix=self.root + folder, **more)
            now = _server_time(page)
            for item in page.get("Contents", ()):
                yield {"Name": item["Key"].removeprefix(self.root), "Age": now - item["LastModified"]}
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def check(self) -> None:
        """Ask for one name."""
        self._call("list_objects_v2", Prefix=self.root, MaxKeys=1)

    def each(self, work: Callable[[S], T], items: Sequence[S]) -> Sequence[T]:
        """Do the same for each item, several at once."""
        if len(items) < 2:
            return [work(item) for item in items]
        self._open()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, "pipetrack: aws_s3")
        return [*self._pool.map(work, items)]

    def close(self) -> None:
        """Close the connections."""
        client = self._let_go()
        if client is not None:
            with suppress(Exception):
                client.close()

    def abandon(self) -> None:
        """Shut the sockets of what is under way, so that threads that wait on them go on at once."""
        self._given_up = True
        self._let_go()
        shut_sockets_of(set(self._threads))

    def _let_go(self) -> Any:
        client, self._client = self._client, None
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        return client

    def _call(self, name: str, **arguments: Any) -> Any:
        client = self._open()
        thread = threading.get_ident()
        self._threads.add(thread)
        try:
            return getattr(client, name)(Bucket=self.bucket, **arguments)
        finally:
            self._threads.discard(thread)

    def _open(self) -> Any:
        if self._client is None:
            client = self._connect()
            client.meta.events.register("before-send.s3", self._send_no_more)
            self._client = client
        return self._client

    def _send_no_more(self, **kwargs: Any) -> None:
        """Keep the driver from trying once more what was given up."""
        del kwargs
        if self._given_up:
            raise TimeoutError("given up")


def _server_time(answer: Mapping[str, Any]) -> datetime:
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
