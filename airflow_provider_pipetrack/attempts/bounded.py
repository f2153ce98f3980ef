"""Call a user's function with a limit on how long we wait for it."""

from __future__ import annotations

import contextvars
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class TimeLimitError(Exception):
    """A user's function did not return in time."""


class ExitError(Exception):
    """A user's function wanted to end the task's process."""


def call_within(seconds: float, what: str, function: Callable[[], T]) -> T:
    """Return ``function()``, or give up waiting for it.

    The function runs in a thread of its own with the caller's context variables. A function that hangs is left
    behind; the thread ends with the task's process.

    :param seconds: how long to wait.
    :param what: how the function is called in the error, such as ``function 'generate_stage_details'``.
    :raises TimeLimitError: when the function has not returned in time.
    :raises ExitError: when it has called ``sys.exit()``; the task's process goes on.
    :raises Exception: whatever the function raises.
    """
    outcome: dict[str, Any] = {}
    context = contextvars.copy_context()

    def run() -> None:
        try:
            outcome["result"] = context.run(function)
        except SystemExit as error:
            outcome["error"] = ExitError(
                f"{what} has called sys.exit({'' if error.code is None else repr(error.code)})"
            )
        except BaseException as error:  # noqa: BLE001  handed to the caller below
            outcome["error"] = error

    thread = threading.Thread(target=run, name=f"pipetrack: {what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeLimitError(f"{what} has not returned within {seconds:g} s")
    if "error" in outcome:
        raise outcome["error"]
    result: T = outcome["result"]
    return result


def disarm_timeout(task: Any) -> None:
    """Stop ``execution_timeout``'s alarm; without one the alarm is somebody else's, such as that of a test's limit."""
    if task.execution_timeout and threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0)
