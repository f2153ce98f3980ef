"""Airflow's word about task states, over its REST API, for commands that run beside Airflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from airflow_provider_pipetrack.errors import PipetrackError

#: Seconds that one request may take.
TIMEOUT = 10.0
_PAGE = 100


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
        self.url = url.rstrip("/")
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

    def _states_of_run(self, dag_id: str, run_id: str) -> dict[str, str | None] | None:
        path = f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        states: dict[str, str | None] = {}
        seen = 0
        while True:
            page = self._request("GET", path, "task_instances", params={"limit": _PAGE, "offset": seen})
            if page is None:
                return None
            for task in page["task_instances"]:
                index = task["map_index"]
                states[f"{task['task_id']}_{index}" if index >= 0 else task["task_id"]] = task["state"]
            seen += len(page["task_instances"])
            if not page["task_instances"] or seen >= page["total_entries"]:
                return states

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
            answer = httpx.request(method, f"{self.url}{path}", headers=headers, timeout=TIMEOUT, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"Airflow at {self.url} cannot be reached: {type(error).__name__}: {error}"
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
