"""The client of S3: as Airflow's hook would make it, with less work."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from airflow_provider_pipetrack.collector import collector_paused


def make_client(hook: Any, limits: Mapping[str, Any]) -> Any:
    """Make a client of boto3 with what the hook's connection says.

    As ``hook.get_client_type`` does; that takes more than twice as long, since it looks through the source files of all
    modules for who has called it, to name that in each request.

    :param hook: the ``S3Hook``.
    :param limits: configuration of the client that the connection's ``config_kwargs`` go before.
    """
    from botocore.config import Config

    session = hook.get_session()
    session.get_credentials()  # which may ask a server for them
    with collector_paused(as_old=False), what_s3_is_read_fast(session):
        return session.client(
            "s3",
            endpoint_url=hook.conn_config.get_service_endpoint_url("s3"),
            config=Config(**limits).merge(hook.config),
            verify=hook.verify,
        )


@contextmanager
def what_s3_is_read_fast(session: Any) -> Iterator[None]:
    """Let the description of S3, from which boto3 makes its client, be read in less than half of the time.

    boto3's own reader goes through the folders of all services twice for the names of those that there are, and makes
    ordered dictionaries in Python code. Clients of other services, which a session may make to renew its credentials,
    are made behind this by the session's own reader.
    """
    inner: Any = getattr(session, "_session", None)
    own = None
    with suppress(AttributeError):  # a boto3 that is made otherwise takes its time
        found = inner.get_component("data_loader")
        inner.register_component("data_loader", _reader_of_s3(found.search_paths))
        own = found
    try:
        yield
    finally:
        if own is not None:
            inner.register_component("data_loader", own)


def _reader_of_s3(search_paths: list[str]) -> Any:
    from botocore.loaders import JSONFileLoader, Loader

    class PlainDictionaries(JSONFileLoader):  # type: ignore[misc]
        def load_file(self, file_path: str) -> Any:
            for ending, opened in ((".json", open), (".json.gz", gzip.open)):
                with suppress(FileNotFoundError), opened(file_path + ending, "rb") as file:
                    return json.loads(file.read())
            return None

    class OnlyS3(Loader):  # type: ignore[misc]
        def list_available_services(self, type_name: str) -> list[str]:
            del type_name
            return ["s3"]

    return OnlyS3([*search_paths], PlainDictionaries(), include_default_search_paths=False)
