"""A whole Airflow on this machine: api-server, scheduler, dag-processor and triggerer, on free loopback ports."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

T = TypeVar("T")

USER = "admin"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_END_STATES = {"success", "failed"}
#: Seconds for which Airflow waits where SQLite is locked.
_LOCKED = 30
#: What the API answers when its database was locked for too long, and how often it is asked then.
_BUSY, _BUSY_TRIES = {500, 503}, 5


class AirflowError(RuntimeError):
    """Airflow did not do what was waited for; the text holds the end of its logs."""


class AirflowStack:
    """Airflow with LocalExecutor and SQLite, in a folder of its own.

    :param home: ``AIRFLOW_HOME``; made when it is missing, and kept.
    :param dags: the dags folder.
    :param env: more environment variables.
    :param parallelism: how many tasks run at once.
    """

    def __init__(self, home: Path, dags: Path, env: dict[str, str] | None = None, *, parallelism: int = 2) -> None:
        self.home = Path(home).resolve()
        self.dags = Path(dags).resolve()
        self.port, self._worker_port, self._trigger_port = _free_ports(3)
        self._password = self._kept_password()
        self._env = {**os.environ, **self._settings(parallelism), **(env or {})}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._client: httpx.Client | None = None

    @property
    def url(self) -> str:
        """Where Airflow's pages are."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> str:
        """User and password of Airflow's pages."""
        return f"{USER} / {self._password}"

    def start(self) -> AirflowStack:
        """Start everything and wait until Airflow answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.dags.mkdir(parents=True, exist_ok=True)
        (self.home / "passwords.json").write_text(json.dumps({USER: self._password}))
        try:
            self._run("db", "migrate")
            for component in COMPONENTS:
                self._launch(component)
            self._wait("Airflow's health", self._healthy, 180)
            self._log_in()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, by process group."""
        if self._client is not None:
            self._client.close()
            self._client = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            living = [process for process in self._processes.values() if process.poll() is None]
            for process in living:
                _signal_group(process, number)
            deadline = time.monotonic() + 10
            for process in living:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        for process in self._processes.values():
            _signal_group(process, signal.SIGKILL)
        self._processes.clear()

    def __enter__(self) -> AirflowStack:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_dag(self, dag_id: str, timeout: float = 120) -> dict[str, Any]:
        """Wait until Airflow knows a Dag, and return it.

        :raises AirflowError: when it does not; the text ends with what Airflow says of files that it cannot load.
        """

        def known() -> dict[str, Any] | None:
            answer = self._request("GET", f"/api/v2/dags/{quote(dag_id)}")
            return answer.json() if answer.status_code == 200 else None

        try:
            return self._wait(f"the Dag {dag_id}", known, timeout)
        except AirflowError as error:
            broken = []
            with suppress(httpx.HTTPError):
                broken = [one["stack_trace"] for one in self.import_errors()]
            raise AirflowError("\n".join([str(error), *broken])) from None

    def unpause(self, dag_id: str) -> None:
        """Let a Dag run."""
        self._request("PATCH", f"/api/v2/dags/{quote(dag_id)}", json={"is_paused": False}).raise_for_status()

    def trigger(self, dag_id: str, **body: Any) -> str:
        """Start a run and return its id."""
        body.setdefault("logical_date", None)
        answer = self._request("POST", f"/api/v2/dags/{quote(dag_id)}/dagRuns", json=body)
        answer.raise_for_status()
        return str(answer.json()["dag_run_id"])

    def wait_run(self, dag_id: str, run_id: str, timeout: float = 180) -> str:
        """Wait for a run's end and return its state."""

        def ended() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in _END_STATES else None

        return self._wait(f"the end of {dag_id} {run_id}", ended, timeout)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return a run's state."""
        answer = self._request("GET", f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}")
        answer.raise_for_status()
        return str(answer.json()["state"])

    def task_instances(self, dag_id: str = "~", run_id: str = "~") -> list[dict[str, Any]]:
        """Return a run's task instances; those of all Dags and runs when none is named."""
        # Asked again and again, so not by POST: that writes each request into Airflow's log of actions, and the whole
        # api-server waits where SQLite is locked meanwhile, even for what would unlock it.
        path = f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            answer = self._request("GET", path, params={"limit": 100, "offset": len(found)})
            answer.raise_for_status()
            page = answer.json()["task_instances"]
            found += page
            if len(page) < 100:
                return found

    def rendered_fields(self, dag_id: str, run_id: str) -> dict[tuple[str, int], dict[str, Any]]:
        """Return what a run's tasks had as their rendered fields, by task and map index."""
        # Airflow 3.1 gives them only where several runs may be asked for.
        asked = {"page_limit": 1000, "dag_ids": [dag_id], "dag_run_ids": [run_id]}
        answer = self._request("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", json=asked)
        answer.raise_for_status()
        return {(ti["task_id"], ti["map_index"]): ti["rendered_fields"] for ti in answer.json()["task_instances"]}

    def import_errors(self) -> list[dict[str, Any]]:
        """Return what Airflow lists as import errors."""
        answer = self._request("GET", "/api/v2/importErrors")
        answer.raise_for_status()
        return list(answer.json()["import_errors"])

    def wait_import_errors(self, timeout: float = 60) -> list[dict[str, Any]]:
        """Wait until Airflow lists an import error, and return all."""
        return self._wait("an import error", self.import_errors, timeout)

    def logs(self, lines: int = 30) -> str:
        """Return the end of each component's log."""
        parts = []
        for path in sorted(self.home.glob("*.out")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"--- {path.name}\n" + "\n".join(tail))
        return "\n".join(parts)

    def _settings(self, parallelism: int) -> dict[str, str]:
        key = self._kept_secret("secret_key")
        options = {
            "core": {
                "dags_folder": str(self.dags),
                "load_examples": "False",
                "executor": "LocalExecutor",
                "parallelism": str(parallelism),
                "fernet_key": "",
                "execution_api_server_url": f"{self.url}/execution/",
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_passwords_file": str(self.home / "passwords.json"),
            },
            "api": {
                "port": str(self.port),
                "host": "127.0.0.1",
                "workers": "1",
                "secret_key": key,
                "base_url": self.url,
            },
            "api_auth": {"jwt_secret": key},
            "database": {"sql_alchemy_conn": f"sqlite:///{self.home / 'airflow.db'}?timeout={_LOCKED}"},
            "dag_processor": {"refresh_interval": "5", "min_file_process_interval": "5", "parsing_processes": "1"},
            "scheduler": {"scheduler_heartbeat_sec": "1", "enable_health_check": "False"},
            "workers": {"execution_api_timeout": "60", "min_heartbeat_interval": "1"},
            "logging": {
                "worker_log_server_port": str(self._worker_port),
                "trigger_log_server_port": str(self._trigger_port),
                "base_log_folder": str(self.home / "logs"),
            },
            "triggerer": {"default_capacity": "50"},
        }
        variables = {
            f"AIRFLOW__{section.upper()}__{option.upper()}": value
            for section, values in options.items()
            for option, value in values.items()
        }
        return {
            **variables,
            "AIRFLOW_HOME": str(self.home),
            "PYTHONUNBUFFERED": "1",
            "no_proxy": "127.0.0.1,localhost",
            "DO_NOT_TRACK": "1",
            "SCARF_NO_ANALYTICS": "true",
        }

    def _kept_password(self) -> str:
        return self._kept_secret("password")

    def _kept_secret(self, name: str) -> str:
        """Return a secret that stays the same for this folder."""
        path = self.home / f".{name}"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(12 if name == "password" else 32))
        return path.read_text()

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *arguments]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            self._command(*arguments), env=self._env, capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode:
            raise AirflowError(f"airflow {' '.join(arguments)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")

    def _launch(self, component: str) -> None:
        arguments = ["--host", "127.0.0.1", "--port", str(self.port)] if component == "api-server" else []
        with (self.home / f"{component}.out").open("wb") as log:
            self._processes[component] = subprocess.Popen(
                self._command(component, *arguments),
                env=self._env_of(component),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _env_of(self, component: str) -> dict[str, str]:
        """Return a component's environment; the api-server is the first to give up where SQLite is locked.

        It writes its log of actions on the thread that all requests need, even the one that has the lock. It outlives a
        write that fails; the scheduler does not.
        """
        if component != "api-server":
            return self._env
        name = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        return {**self._env, name: self._env[name].replace(f"timeout={_LOCKED}", f"timeout={_LOCKED // 3}")}

    def _healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        states = answer.json() if answer.status_code == 200 else {}
        return all((states.get(part) or {}).get("status") == "healthy" for part in ("metadatabase", "scheduler"))

    def _log_in(self) -> None:
        login = {"username": USER, "password": self._password}
        answer = httpx.post(f"{self.url}/auth/token", json=login, timeout=30, trust_env=False)
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask Airflow's API, again while SQLite is locked by another of its components."""
        if self._client is None:
            raise AirflowError("Airflow is not running")
        for _ in range(_BUSY_TRIES):
            answer = self._client.request(method, path, **more)
            if answer.status_code not in _BUSY:
                break
            time.sleep(1)
        return answer

    def _wait(self, what: str, ask: Callable[[], T | None], timeout: float) -> T:
        """Ask until there is an answer; give up when a component has died or the time is over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            answer = ask()
            if answer:
                return answer
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            if dead:
                raise AirflowError(f"{', '.join(dead)} ended while waiting for {what}\n{self.logs()}")
            time.sleep(0.3)
        raise AirflowError(f"waited {timeout:.0f} s in vain for {what}\n{self.logs()}")


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
