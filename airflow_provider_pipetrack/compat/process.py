"""What Airflow has set up in this process: options, secrets to mask, metrics."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

#: Seconds that Airflow's API may take to come up in a process that makes a test run.
_API_LIMIT = 60.0
#: Airflow's default of ``[workers] missing_dag_retries``.
_STARTUP_RESCHEDULES = 3


@functools.cache
def airflow_option(section: str, option: str) -> str | None:
    """Return an option of airflow.cfg as text, or None when it is not set; a process reads it once."""
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # 3.1
        from airflow.configuration import conf
    value = conf.get(section, option, fallback=None)
    return None if value is None else str(value)


def most_startup_reschedules() -> int:
    """Return how often Airflow may reschedule a task that has not begun, since it does not find the task's Dag.

    Airflow does so from 3.1.7 on. It counts these times with those that the task itself asks for.
    """
    try:
        return int(airflow_option("workers", "missing_dag_retries") or _STARTUP_RESCHEDULES)
    except ValueError:
        return _STARTUP_RESCHEDULES


def redact(text: str) -> str:
    """Return ``text`` with every secret that Airflow knows of masked."""
    from airflow.sdk._shared.secrets_masker import redact as mask

    return str(mask(text))


def redact_texts(value: Any) -> Any:
    """Return a copy of ``value`` in which the texts, however deep, have every secret masked that Airflow knows of.

    Airflow's own function leaves alone what is deeper than a few levels.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: redact_texts(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_texts(part) for part in value]
    return value


def airflow_stats() -> Any:
    """Return where this process sends its metrics (``incr``, ``timing``, ``gauge``), or None when it sends none.

    From 3.2 on there are two: the SDK's, which the task runner sets up, and the core's of Airflow's other processes.
    Which one it is shows in whether it was set up; to import one would not set it up.
    """
    for name in ("airflow.sdk._shared.observability.metrics.stats", "airflow._shared.observability.metrics.stats"):
        module = sys.modules.get(name)
        if getattr(module, "_factory", None) is not None:  # 3.3
            return module
        stats = getattr(module, "Stats", None)
        if stats is not None and vars(stats).get("factory") is not None:  # 3.2
            return stats
    module = sys.modules.get("airflow.stats")
    return module.Stats if hasattr(module, "conf") else None  # type: ignore[union-attr]  # 3.1 sets itself up


def may_ask_from_threads() -> bool:
    """Return whether several threads of this process may ask Airflow at the same time.

    What answers in ``dag.test()`` bears one thread only. What sends a task's questions does from 3.2 on, and before it
    is made to here: without a lock a thread would take the answer of another, and wait for its own for ever.
    """
    from airflow.sdk.execution_time import comms, task_runner

    asked = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if type(asked).__name__ == "InProcessSupervisorComms":
        return False
    decoder: Any = comms.CommsDecoder
    if isinstance(asked, decoder) and not (hasattr(asked, "_thread_lock") or hasattr(decoder.send, "__wrapped__")):
        decoder.send = _one_at_a_time(decoder.send)
    return True


def _one_at_a_time(send: Any) -> Any:
    # A signal handler may ask while its own thread does.
    lock = threading.RLock()

    @functools.wraps(send)
    def send_alone(self: Any, msg: Any) -> Any:
        with lock:
            return send(self, msg)

    return send_alone


def keep_api_of_test_runs() -> None:
    """Let all tasks of ``dag.test()`` in this process talk to one API, and to none before it is up.

    Airflow 3.1 and 3.2 make it anew for each task, which takes seconds, and do not wait for it: a task that asks too
    early fails with ``'State' object has no attribute 'svcs_registry'``. Later ones keep it and wait.
    """
    from airflow.sdk.execution_time import supervisor

    module: Any = supervisor
    make = module.in_process_api_server
    if not hasattr(make, "cache_info"):
        module.in_process_api_server = functools.cache(lambda: _is_up(make()))


def _is_up(api: Any) -> Any:
    """Return an API that answers; the first use of its transport starts it.

    :raises TimeoutError: when it does not come up.
    """
    api.transport  # noqa: B018
    end = time.monotonic() + _API_LIMIT
    while not hasattr(api.app.state, "svcs_registry"):
        if time.monotonic() > end:
            raise TimeoutError(f"Airflow's API in this process is not up after {_API_LIMIT:g} s")
        time.sleep(0.02)
    return api
