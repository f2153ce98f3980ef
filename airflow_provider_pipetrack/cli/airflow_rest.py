"""Airflow's word about task states, over its REST API, for commands that run beside Airflow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import NoneType
from typing import Any, NamedTuple
from urllib.parse import quote

import click

from airflow_provider_pipetrack.errors import PipetrackError

#: Seconds that one request may take.
TIMEOUT = 10.0
_PAGE = 100
#: What is read of a task instance, and of which type it is.
_READ: Mapping[str, Any] = {
    "task_id": str,
    "map_index": int,
    "try_number": int,
    "state": (str, NoneType),
    "end_date": (str, NoneType),
}

_user_option = click.option(
    "--airflow-user", envvar="PIPETRACK_AIRFLOW_USER", show_envvar=True, help="Name to log in with there."
)
_password_option = click.option(
    "--airflow-password", envvar="PIPETRACK_AIRFLOW_PASSWORD", show_envvar=True, help="Better given by the environment."
)
_token_option = click.option(
    "--airflow-token", envvar="PIPETRACK_AIRFLOW_TOKEN", show_envvar=True, help="A token, instead of name and password."
)


class AirflowLogin(NamedTuple):
    """Where Airflow's REST API is, and how to log in there, as :class:`AirflowRest` takes it."""

    url: str
    user: str | None
    password: str | None
    token: str | None


def airflow_options(what_for: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what adds the options that name Airflow's REST API; the command gets ``airflow``, None without address.

    :param what_for: what the command asks Airflow for, as the help says it.
    """
    address = click.option("--airflow-url", envvar="PIPETRACK_AIRFLOW_URL", show_envvar=True, help=what_for)

    def added(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(
            *given: Any,
            airflow_url: str | None,
            airflow_user: str | None,
            airflow_password: str | None,
            airflow_token: str | None,
            **more: Any,
        ) -> None:
            login = AirflowLogin(airflow_url, airflow_user, airflow_password, airflow_token) if airflow_url else None
            command(*given, airflow=login, **more)

        return address(_user_option(_password_option(_token_option(called))))

    return added


class AirflowUnreachableError(PipetrackError):
    """Airflow's REST API did not answer, or not as it should."""


class _AirflowAwayError(AirflowUnreachableError):
    """Nothing answers there, so that nothing else need be asked."""


class AirflowRest:
    """An Airflow, seen through its REST API.

    :param url: base address, such as ``http://127.0.0.1:8080``, with the base path if there is one.
    :param user: name to log in with; ``password`` likewise.
    :param token: a token, instead of both.
    :raises PipetrackError: when there is neither.
    """

    def __init__(self, url: str, user: str | None, password: str | None, token: str | None = None) -> None:
        self._base = url.rstrip("/")
        #: The address as errors name it: a proxy's password may stand in it.
        self.url, self._has_login = _without_login(self._base)
        self._login = {"username": user, "password": password}
        self._given = self._token = token
        #: The last error since :meth:`log_in`; who asks about many runs goes on after one, and would not know.
        self.failure: AirflowUnreachableError | None = None
        if not token and not all(self._login.values()):
            raise PipetrackError(
                "Airflow wants a login: give PIPETRACK_AIRFLOW_USER and PIPETRACK_AIRFLOW_PASSWORD, or "
                "PIPETRACK_AIRFLOW_TOKEN"
            )

    def log_in(self) -> None:
        """Begin anew: get a new token, unless one was given, as the one from before may have expired.

        :raises AirflowUnreachableError: when Airflow does not answer, or does not let us in.
        """
        self.failure = None
        if not self._given:
            self._token = None
            self._token = str(self._request("POST", "/auth/token", "access_token", json=self._login)["access_token"])

    def states(self, dag_id: str, run_ids: Sequence[str]) -> dict[str, Mapping[str, str | None]]:
        """Return the states of the runs' tasks; that of a mapped task's index is under ``<task id>_<index>``.

        A run that Airflow does not know is missing.

        :raises AirflowUnreachableError: when Airflow does not answer.
        """
        found: dict[str, Mapping[str, str | None]] = {}
        for run_id in run_ids:
            states = self._states_of_run(dag_id, run_id)
            if states is not None:
                found[run_id] = states
        return found

    def pages(self, dag_id: str, run_id: str, **asked: Any) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield a run's task instances, page by page as they are wanted; no page of a run that Airflow does not know.

        :param asked: which ones, and in which order, as the API's parameters.
        :raises AirflowUnreachableError: when Airflow does not answer.
        """
        path = f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        options, seen = {**asked, "limit": _PAGE}, 0
        while answer := self._request("GET", path, "task_instances", params={**options, "offset": seen}):
            page = answer["task_instances"]
            if not _is_readable(page, answer.get("total_entries")):
                self.failure = AirflowUnreachableError(
                    f"What answers at {self.url} is no Airflow as this version knows it: {path} gives task instances "
                    "that cannot be read"
                )
                raise self.failure
            yield page
            seen += len(page)
            if not page or seen >= answer["total_entries"]:
                return

    def _states_of_run(self, dag_id: str, run_id: str) -> dict[str, str | None] | None:
        pages = list(self.pages(dag_id, run_id))
        if not pages:
            return None
        return {_name(task): task["state"] for page in pages for task in page}

    def _request(self, method: str, path: str, wanted: str, **options: Any) -> Any:
        if isinstance(self.failure, _AirflowAwayError):
            raise self.failure  # one limit of time is enough for all Dags
        try:
            return self._answer(method, path, wanted, **options)
        except AirflowUnreachableError as error:
            self.failure = error
            raise

    def _answer(self, method: str, path: str, wanted: str, **options: Any) -> Any:
        import httpx

        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            answer = httpx.request(method, f"{self._base}{path}", headers=headers, timeout=TIMEOUT, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # What cannot be read of an address may be a part of its password.
            said = "" if self._has_login and isinstance(error, httpx.InvalidURL) else f": {error}"
            text = f"Airflow at {self.url} cannot be reached: {type(error).__name__}{said}"
            raise _AirflowAwayError(text) from error
        if method == "GET" and answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise AirflowUnreachableError(f"Airflow at {self.url} refuses this login ({answer.status_code})")
        if not answer.is_success:
            raise AirflowUnreachableError(f"Airflow at {self.url} answers {answer.status_code} to {path}")
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or wanted not in found:
            raise AirflowUnreachableError(f"What answers at {self.url} is no Airflow: {path} gives no {wanted}")
        return found


def _without_login(url: str) -> tuple[str, bool]:
    """Return an address without user and password, and whether there were any."""
    scheme, slashes, rest = url.partition("://")
    _, at, place = (rest or url).rpartition("@")
    return f"{scheme + slashes if rest else ''}***@{place}" if at else url, bool(at)


def _is_readable(page: Any, total: Any) -> bool:
    """Return whether a page of task instances has what is read of each, as Airflow writes it."""
    return isinstance(total, int) and isinstance(page, list) and all(map(_is_task_instance, page))


def _is_task_instance(task: Any) -> bool:
    if not isinstance(task, dict) or any(not isinstance(task.get(name, ...), kind) for name, kind in _READ.items()):
        return False
    ended = task["end_date"]
    try:
        return not ended or datetime.fromisoformat(ended.replace("Z", "+00:00")).tzinfo is not None
    except ValueError:
        return False


def _name(task: Mapping[str, Any]) -> str:
    return f"{task['task_id']}_{task['map_index']}" if task["map_index"] >= 0 else str(task["task_id"])
