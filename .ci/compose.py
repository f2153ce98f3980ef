"""Exercise docker-compose.airflow.yml without containers: every service's own command, environment and health check.

The names of the services become loopback ports and their folders a temporary one; all else is as the file says. The
services start in the order of ``depends_on``, a pipeline of the mounted folder runs to its end on the Celery worker,
and its tracking records must be in PostgreSQL. Needs redis-server and PostgreSQL (Debian: redis-server, postgresql).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

REPO = Path(__file__).resolve().parents[1]
FILE = REPO / "docker-compose.airflow.yml"
DAG_ID = "customer_etl"
GIVEN = {
    "AIRFLOW_SECRET": "a-secret-for-this-check-only-0123456789abcdef",
    "AIRFLOW_FERNET_KEY": base64.b64encode(b"a key for this check only, 32 by").decode(),
    "POSTGRES_PASSWORD": "airflow",
}
_POSTGRES_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_WAIT = 240.0


def check_text() -> dict[str, Any]:
    """Check what can be checked in the file, and return it with its variables filled in."""
    compose = yaml.safe_load(interpolated(FILE.read_text(), GIVEN))
    for name, service in compose["services"].items():
        image = service["image"]
        assert re.fullmatch(r"[\w./-]+:\d+(\.\d+)+[\w.-]*", image), f"{name}: the image {image} is not pinned"
        assert "healthcheck" in service or is_single(service) or is_watcher(service), f"{name} has no health check"
        assert "restart" in service, f"{name} does not say when it is started again"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (REPO / source).exists(), f"{name}: there is no {source}"
    check_by_compose()
    return compose


def check_by_compose() -> None:
    """Have Docker's own client check the file where it is here; it needs no engine for that."""
    client = next((c for c in (["docker", "compose"], ["docker-compose"]) if is_version_2(c)), None)
    if client is None:
        print("There is no docker compose here; the file is checked without it.")
        return
    command = [*client, "-f", str(FILE), "config", "--quiet"]
    subprocess.run(command, env={**os.environ, **GIVEN}, timeout=60, check=True)
    for name in GIVEN:
        without = {key: value for key, value in {**os.environ, **GIVEN}.items() if key != name}
        done = subprocess.run(command, env=without, timeout=60, check=False, capture_output=True, text=True)
        assert done.returncode != 0, f"{name} has a default, which everybody knows"
        assert f"set {name}, see the head of this file" in done.stderr, done.stderr
    print("docker compose config: good")


def is_version_2(client: list[str]) -> bool:
    if not shutil.which(client[0]):
        return False
    done = subprocess.run([*client, "version", "--short"], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode == 0 and not done.stdout.strip().removeprefix("v").startswith("1.")


def is_single(service: Mapping[str, Any]) -> bool:
    """Return whether a service does its work once and ends."""
    return bool(service["restart"] == "no")


def is_watcher(service: Mapping[str, Any]) -> bool:
    """Return whether a service reconciles again and again; it has nothing that it could be asked."""
    return "--watch" in service["command"] if "command" in service else False


def interpolated(text: str, given: Mapping[str, str]) -> str:
    """Fill in variables as Compose does."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, operator, rest = match[1], match[2], match[3]
        if operator == ":?" and not given.get(name):
            raise SystemExit(f"{name}: {rest}")
        return given.get(name) or (rest if operator == ":-" else "")

    return re.sub(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


class Stack:
    """The services of the file as processes of this machine."""

    def __init__(self, compose: Mapping[str, Any], folder: Path) -> None:
        self.services: dict[str, Any] = dict(compose["services"])
        self.sql: str = compose["configs"]["tracking-database"]["content"]
        self.folder = folder
        ports = free_ports(6)
        self.postgres, self.redis, self.api, self.health, worker_log, trigger_log = ports
        self.state = folder / "state"
        # Two services of one machine cannot share a port, as two containers can.
        self.beside = {
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.health),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "PGPORT": str(self.postgres),
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(_POSTGRES_BINARIES[-1]), os.environ["PATH"]]
            ),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("home", "dags", "logs", "state"):
            (folder / name).mkdir()

    def here(self, text: str) -> str:
        """Return a text of the file with the names of services and folders as they are on this machine."""
        for pattern, replacement in (
            (r"@postgres:5432/", f"@127.0.0.1:{self.postgres}/"),
            (r'"host": "postgres", "port": 5432', f'"host": "127.0.0.1", "port": {self.postgres}'),
            (r"//redis:6379", f"//127.0.0.1:{self.redis}"),
            (r"//(airflow-apiserver|localhost):8080", f"//127.0.0.1:{self.api}"),
            (r"//localhost:8974", f"//127.0.0.1:{self.health}"),
            (r"^8080$", str(self.api)),
            (r"^(postgres|redis)$", "127.0.0.1"),
            (r"/opt/pipelines", str(REPO / "dags_examples")),
            (r"/opt/airflow/dags", str(self.folder / "dags")),
            (r"/opt/pipetrack", str(self.state)),
        ):
            text = re.sub(pattern, replacement, text)
        return text

    def environment(self, name: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        own = {key: self.here(str(value)) for key, value in self.services[name].get("environment", {}).items()}
        return {**kept, **own, **self.beside, "DO_NOT_TRACK": "1", "no_proxy": "127.0.0.1,localhost"}

    def start(self) -> None:
        """Start every service when what it depends on is there."""
        shutil.copy(REPO / "dags_examples" / "pipetrack_maintenance.py", self.folder / "dags")
        waiting = list(self.services)
        while waiting:
            ready = [name for name in waiting if not set(self.services[name].get("depends_on", ())) & set(waiting)]
            assert ready, f"these services wait for each other: {waiting}"
            for name in ready:
                self.launch(name)
            for name in ready:
                self.wait_for(name)
                waiting.remove(name)

    def launch(self, name: str) -> None:
        command = self.command(name)
        print("starting", name, " ".join(command), flush=True)
        with (self.folder / f"{name}.out").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment(name), stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )

    def command(self, name: str) -> list[str]:
        if name == "postgres":
            return self.postgres_command()
        command = [self.here(str(part)) for part in self.services[name]["command"]]
        if name == "redis":
            command += ["--port", str(self.redis), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return command

    def postgres_command(self) -> list[str]:
        """Do what the image's entry point does, and return the server's command."""
        data = self.folder / "postgres"
        data.mkdir()
        user = self.services["postgres"]["environment"]["POSTGRES_USER"]
        drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
        if drop:
            self.folder.chmod(0o755)
            shutil.chown(data, "postgres", "postgres")
        binaries = _POSTGRES_BINARIES[-1]
        initialize = [
            *drop,
            f"{binaries}/initdb",
            "-D",
            str(data),
            "-U",
            user,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(initialize, check=True, capture_output=True, timeout=60, cwd="/")
        return [
            *drop,
            f"{binaries}/postgres",
            "-D",
            str(data),
            "-p",
            str(self.postgres),
            "-k",
            str(data),
            "-h",
            "127.0.0.1",
        ]

    def wait_for(self, name: str) -> None:
        """Wait for a service's health, or for its end when it is one that ends."""
        service, process = self.services[name], self.processes[name]
        if name == "postgres":
            self.make_databases()
        if is_watcher(service):
            assert process.poll() is None, f"{name} has ended\n{self.tail(name)}"
            return
        if "healthcheck" not in service:
            assert process.wait(_WAIT) == 0, self.tail(name)
            return
        kind, *test = service["healthcheck"]["test"]
        words = [self.here(str(part)) for part in test]
        if name == "redis":
            words[words.index("127.0.0.1") : words.index("127.0.0.1") + 1] = ["127.0.0.1", "-p", str(self.redis)]
        command = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words

        def healthy() -> bool:
            assert process.poll() is None, f"{name} has ended\n{self.tail(name)}"
            return run_quietly(command, env=self.environment(name), cwd=self.folder)

        wait(f"{name} to be healthy", healthy, lambda: self.tail(name))
        print(name, "is healthy", flush=True)

    def make_databases(self) -> None:
        """Make the databases as the image's entry point does: the one of its environment, then its scripts."""

        def made() -> bool:
            try:
                with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
                    connection.execute(b"CREATE DATABASE airflow")
                    connection.execute(self.sql.encode())
            except psycopg.OperationalError:
                return False
            return True

        wait("PostgreSQL", made, lambda: self.tail("postgres"))

    def dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.postgres} user=airflow password=airflow dbname={database} connect_timeout=5"

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            process = self.processes[name]
            for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
                if process.poll() is None:
                    kill_group(process, signal.SIGINT if name == "postgres" else number)
                    try:
                        process.wait(patience)
                    except subprocess.TimeoutExpired:
                        continue
            kill_group(process, signal.SIGKILL)

    def tail(self, name: str) -> str:
        return f"--- {name}\n" + (self.folder / f"{name}.out").read_text(errors="replace")[-4000:]


def run_pipeline(stack: Stack) -> None:
    """Run a pipeline of the mounted folder, and look for its records."""
    password = json.loads((stack.state / "passwords.json").read_text())["admin"]
    url = f"http://127.0.0.1:{stack.api}"
    answer = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password}, timeout=30)
    headers = {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        wait("the pipeline's Dag", lambda: client.get(f"/api/v2/dags/{DAG_ID}").status_code == 200, stack_tail(stack))
        client.patch(f"/api/v2/dags/{DAG_ID}", json={"is_paused": False}).raise_for_status()
        body = {"logical_date": None, "dag_run_id": "compose_check"}
        client.post(f"/api/v2/dags/{DAG_ID}/dagRuns", json=body).raise_for_status()
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/compose_check"
        wait(
            "the run's end",
            lambda: client.get(path).json()["state"] in {"success", "failed"},
            stack_tail(stack),
        )
        state = client.get(path).json()["state"]
        bundle = client.get(f"/api/v2/dags/{DAG_ID}").json()["bundle_name"]
        errors = client.get("/api/v2/importErrors").json()["import_errors"]
    query = b"SELECT task_id, transfer_status FROM pipeline_tracking WHERE run_id = 'compose_check'"
    with psycopg.connect(stack.dsn("tracking")) as connection:
        records = dict(connection.execute(query).fetchall())
    print("run:", state, "bundle:", bundle, "records in PostgreSQL:", records, flush=True)
    assert (state, bundle, errors) == ("success", "pipelines", []), stack_tail(stack)()
    assert records, stack_tail(stack)()
    assert set(records.values()) <= {"completed", "pending"}
    assert "completed" in records.values()


def stack_tail(stack: Stack) -> Callable[[], str]:
    return lambda: "\n".join(stack.tail(name) for name in stack.processes if name.startswith("airflow"))


def wait(what: str, done: Callable[[], bool], explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + _WAIT
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {_WAIT:.0f} s in vain for {what}\n{explain()}")
        time.sleep(1)


def run_quietly(command: list[str], **more: Any) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False, **more).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def kill_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def main() -> None:
    """Check the file, then run it."""
    compose = check_text()
    if not shutil.which("redis-server") or not _POSTGRES_BINARIES:
        raise SystemExit("redis-server and PostgreSQL are needed: apt-get install redis-server postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pipetrack-compose-"))
    stack = Stack(compose, folder)
    try:
        stack.start()
        run_pipeline(stack)
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("docker-compose.airflow.yml works")


if __name__ == "__main__":
    main()
