"""Real servers for the storages, started when first needed, reached through free ports of this machine only."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

BIN = Path(sys.executable).parent
MONGO_CONN_ID = "pipetrack_tests_mongo"
S3_CONN_ID = "pipetrack_tests_s3"
SNOWFLAKE_CONN_ID = "pipetrack_tests_snowflake"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(command: Callable[[int], Sequence[str]], *, seconds: float = 60.0) -> Iterator[int]:
    """Run a server until the block ends, and give its port.

    :param command: given a free port, the command that starts the server.
    :param seconds: how long it may take until it listens.
    """
    port = free_port()
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command(port), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _await(server, port, seconds, log)
            yield port
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await(server: subprocess.Popen[bytes], port: int, seconds: float, log: Any) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise RuntimeError(f"the server did not start: {log.read().decode()[-2000:]}") from None
            time.sleep(0.05)


@contextmanager
def environment(conn_id: str, connection: dict[str, Any] | str, **more: str) -> Iterator[None]:
    """Define an Airflow connection, and other variables, in the environment until the block ends."""
    text = connection if isinstance(connection, str) else json.dumps(connection)
    added = {f"AIRFLOW_CONN_{conn_id.upper()}": text, **more}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def mongo() -> Iterator[int | None]:
    """A MongoDB with the connection ``MONGO_CONN_ID``: the one of ``PIPETRACK_TEST_MONGO``, or a stand-in and its port."""
    given = os.environ.get("PIPETRACK_TEST_MONGO")
    if given:
        with environment(MONGO_CONN_ID, given):
            yield None
        return
    folder = tempfile.mkdtemp(prefix="pt-mongo-")
    command = [
        str(BIN / "nx-27017"),
        "--data-dir",
        "memory",
        "--log-file",
        f"{folder}/log",
        "--pid-file",
        f"{folder}/pid",
    ]
    with running(lambda port: [*command, "-p", str(port)]) as port:
        connection = {"conn_type": "mongo", "host": "127.0.0.1", "port": port}
        with environment(MONGO_CONN_ID, connection):
            yield port
    shutil.rmtree(folder, ignore_errors=True)


def s3_connection(port: int, **changes: Any) -> dict[str, Any]:
    """Return an Airflow connection to the S3 server at a port of this machine."""
    options = {"addressing_style": "path"}
    extra = {"region_name": "us-east-1", "endpoint_url": f"http://127.0.0.1:{port}", "config_kwargs": {"s3": options}}
    return {"conn_type": "aws", "login": "AKIATESTKEY", "password": "unasked", "extra": extra, **changes}


def make_bucket(port: int, name: str) -> None:
    """Make a bucket in the S3 server at a port of this machine."""
    import boto3

    keys = {"aws_access_key_id": "AKIATESTKEY", "aws_secret_access_key": "unasked", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys).create_bucket(Bucket=name)


def s3_address() -> tuple[str, int]:
    """Return host and port of the S3 server that the connection ``S3_CONN_ID`` leads to."""
    given = json.loads(os.environ[f"AIRFLOW_CONN_{S3_CONN_ID.upper()}"])
    address = urlsplit(given["extra"]["endpoint_url"])
    assert address.hostname, "its endpoint_url names host and port"
    assert address.port, "its endpoint_url names host and port"
    return address.hostname, address.port


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket with the connection ``S3_CONN_ID``: those of ``PIPETRACK_TEST_S3`` and ``…_BUCKET``, or a stand-in."""
    given = os.environ.get("PIPETRACK_TEST_S3")
    if given:
        with environment(S3_CONN_ID, given):
            yield os.environ["PIPETRACK_TEST_S3_BUCKET"]
        return
    with running(lambda port: [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]) as port:
        make_bucket(port, "pipetrack-tests")
        with environment(S3_CONN_ID, s3_connection(port)):
            yield "pipetrack-tests"


def snowflake_connection(port: int, **changes: Any) -> dict[str, Any]:
    """Return an Airflow connection to the stand-in for Snowflake at a port of this machine."""
    extra = {
        "account": "fakesnow",
        "warehouse": "WH",
        "database": "TRACK",
        "role": "SYSADMIN",
        "host": "127.0.0.1",
        "port": port,
        "insecure_mode": True,
        "session_parameters": {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
    }
    return {
        "conn_type": "snowflake",
        "login": "fake",
        "password": "unasked",
        "schema": "PUBLIC",
        "extra": extra,
        **changes,
    }


@pytest.fixture(scope="session")
def snowflake() -> Iterator[tuple[str, int | None]]:
    """A Snowflake with the connection ``SNOWFLAKE_CONN_ID``: its database and, for the stand-in, the port.

    The account is that of ``PIPETRACK_TEST_SNOWFLAKE`` and ``…_DATABASE`` where these are set.
    """
    given = os.environ.get("PIPETRACK_TEST_SNOWFLAKE")
    if given:
        with environment(SNOWFLAKE_CONN_ID, given):
            yield os.environ["PIPETRACK_TEST_SNOWFLAKE_DATABASE"], None
        return
    folder = Path(tempfile.mkdtemp(prefix="pt-snowflake-"))
    certificates = _certificates(folder)
    # The hook speaks TLS only; the variable is one for the whole process.
    trusted = {"REQUESTS_CA_BUNDLE": str(folder / "ca.pem")}
    command = [sys.executable, "-m", "uvicorn", "fakesnow.server:app", "--host", "127.0.0.1", *certificates]
    with running(lambda port: [*command, "--port", str(port)]) as port:
        with environment(SNOWFLAKE_CONN_ID, snowflake_connection(port), **trusted):
            yield "TRACK", port
    shutil.rmtree(folder, ignore_errors=True)


def _certificates(folder: Path) -> list[str]:
    import trustme

    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    return ["--ssl-keyfile", str(folder / "key.pem"), "--ssl-certfile", str(folder / "cert.pem")]
