"""The rows of the kill matrix: what each transfer does, what is done to it, and what its records have to say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HOLD = "python_callable: hold"


@dataclass(frozen=True)
class End:
    """How an attempt has to end.

    :param status: its ``transfer_status``.
    :param cause: a regular expression for its decision and error.
    :param by: a regular expression for ``closed_by``.
    """

    status: str
    cause: str
    by: str


@dataclass(frozen=True)
class Row:
    """One way to die.

    :param name: the Dag's id.
    :param what: what is killed, for people.
    :param work: the transfer's keys.
    :param strike: does it, given the stack's hands and the pids of the first attempt; None when the transfer does.
    :param ends: the end of each attempt.
    :param state: Airflow's state of the task in the end.
    :param map_index: of the mapped task that is killed.
    """

    name: str
    what: str
    work: str
    ends: tuple[End, ...]
    strike: Callable[[Any, dict[str, int]], None] | None = None
    state: str = "failed"
    dag: str = ""
    more: str = ""
    map_index: int = -1

    @property
    def yaml(self) -> str:
        """The pipeline."""
        return f"""
dag: {{dag_id: {self.name}{self.dag}}}
user_functions: {"startup_functions.py" if self.name == "startup_failure" else "kill_functions.py"}
defaults: {{max_retry_attempts: 0, retry_delay: 1s, audit_enabled: false}}
stage_transfers:
  - {{name: work, stage_i_details: raw, stage_i_plus_1_details: clean, {self.work}}}
{self.more}"""


def killed(*who: str, number: int = signal.SIGKILL) -> Callable[[Any, dict[str, int]], None]:
    """Return what sends a signal to the task's process, its supervisor, or both."""

    def strike(hands: Any, pids: dict[str, int]) -> None:
        del hands
        for name in who:
            os.kill(pids[name], number)

    return strike


WORDLESS = "the task ended without a word; Airflow says failed"
LOST = "the task's process ended without a word: killed, out of memory, its worker was lost, or the task was cleared"
DONE = End("completed", "^$", "^task$")

ROWS = (
    Row(
        "dagrun_timeout", "dagrun_timeout", f"{HOLD}, operator_args: {{seconds: 240}}",
        (End("failed", "stopped: (the run exceeded its dagrun_timeout|Airflow skipped the task)", "dag callback|reconcile"),),
        state="skipped", dag=", dagrun_timeout: 60s",
    ),
    Row(
        "supervisor_with_retry", "supervisor, its orphan fails while the retry is done",
        f"{HOLD}, operator_args: {{seconds: 100, then: fail}}, rollback: undo, max_retry_attempts: 1",
        (End("failed", LOST, "callback"), End("completed", "^rolled back the previous attempt first$", "^task$")),
        killed("ppid"), state="success",
    ),
    Row("supervisor", "supervisor, its orphan completes", f"{HOLD}, operator_args: {{seconds: 70}}",
        (End("failed", f"{LOST}|{WORDLESS}", "callback"),), killed("ppid")),
    Row("task_and_supervisor", "task and supervisor", HOLD, (End("failed", f"{LOST}|{WORDLESS}", "callback"),),
        killed("ppid", "pid")),
    Row("task", "task, SIGKILL", HOLD, (End("failed", WORDLESS, "dag callback|reconcile"),), killed("pid")),
    Row("task_with_retry", "task, SIGKILL, with a retry", f"{HOLD}, max_retry_attempts: 1",
        (End("failed", f"Airflow retries {LOST}", "^callback$"), DONE), killed("pid"), state="success"),
    Row("one_index_with_retry", "one index of a mapped task, with a retry",
        f"{HOLD}, max_retry_attempts: 1, expand: {{seconds: [0, 90]}}",
        (End("failed", f"Airflow retries {LOST}", "^callback$"), DONE), killed("pid"), state="success", map_index=1),
    Row("in_a_long_run", "task, SIGKILL, while its run goes on", HOLD, (End("failed", WORDLESS, "^reconcile$"),),
        killed("pid"), more="  - {name: long, python_callable: hold, operator_args: {seconds: 150}}\n"),
    Row("sigterm", "task, SIGTERM", f"{HOLD}, operator_args: {{seconds: 25}}", (DONE,),
        killed("pid", number=signal.SIGTERM), state="success"),
    Row("out_of_memory", "task, out of memory", "python_callable: eat_memory",
        (End("failed", WORDLESS, "dag callback|reconcile"),)),
    Row("execution_timeout", "execution_timeout", f"{HOLD}, execution_timeout: 5s",
        (End("failed", r"AirflowTaskTimeout: execution_timeout of 0:00:05 exceeded", "^task$"),)),
    Row("set_failed", "set failed in the UI", HOLD, (End("failed", WORDLESS, "dag callback|reconcile"),),
        lambda hands, pids: hands.set_state("failed")),
    Row("set_success", "set success in the UI, a rollback at hand",
        "operator: airflow.providers.standard.operators.bash.BashOperator, rollback: undo, max_retry_attempts: 1, "
        "operator_args: {bash_command: 'python -c \"import kill_functions as k; k.mark(\\\"set_success\\\")\"; sleep 240'}",
        (End("completed", "Airflow says success; the task itself did not report its end", "dag callback|reconcile"),),
        lambda hands, pids: hands.set_state("success"), state="success"),
    Row("cleared", "cleared in the UI while it runs", f"{HOLD}, max_retry_attempts: 1",
        (End("failed", ".", "callback|reconcile|task"), DONE), lambda hands, pids: hands.clear(), state="success"),
    Row("startup_failure", "the task's process cannot start", "python_callable: hold",
        (End("failed", "failed before it began|ended without a word", "callback|reconcile"),)),
)  # fmt: skip

FUNCTIONS = '''
import json, os, resource, subprocess, sys, time
from pathlib import Path

FOLDER = Path(os.environ["KILL_FOLDER"])

def mark(dag_id, map_index=-1, try_number=1, pid=None, ppid=None):
    path = FOLDER / f"{dag_id}.{map_index}.{try_number}.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"pid": pid or os.getpid(), "ppid": ppid or os.getppid()}))
    new.replace(path)

def note(dag_id, what):
    with (FOLDER / f"{dag_id}.events").open("a") as file:
        file.write(what + "\\n")

def hold(ti, seconds=90, then="return"):
    if ti.task_id == "work":
        mark(ti.dag_id, ti.map_index, ti.try_number)
    if ti.try_number == 1:
        time.sleep(seconds)
        if then == "fail":
            note(ti.dag_id, "orphan fails")
            raise ValueError("too late")
    note(ti.dag_id, f"try {ti.try_number} loaded")

def undo(ti):
    note(ti.dag_id, f"try {ti.try_number} rolled back")

def eat_memory(ti):
    mark(ti.dag_id, ti.map_index, ti.try_number)
    limit = 200_000_000 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    how = in_cgroup(limit) or watched(limit)
    note(ti.dag_id, how)
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1_000_000)))

def in_cgroup(limit):
    """Move into a memory cgroup of our own, where that is allowed; the kernel kills us there."""
    try:
        line = next(l for l in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in l)
        group = Path("/sys/fs/cgroup/memory" + line.split(":", 2)[2], f"pipetrack-kill-{os.getpid()}")
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        return f"cgroup {group}"
    except (OSError, StopIteration):
        return None

def watched(limit):
    """Let a child kill us as the kernel would, where there is no cgroup to be had."""
    code = (
        "import os, signal, sys, time\\n"
        "pid, limit = int(sys.argv[1]), int(sys.argv[2])\\n"
        "while int(open(f'/proc/{pid}/statm').read().split()[1]) * 4096 < limit: time.sleep(0.05)\\n"
        "os.kill(pid, signal.SIGKILL)"
    )
    subprocess.Popen([sys.executable, "-c", code, str(os.getpid()), str(limit)])
    return "watched"
'''

STARTUP_FUNCTIONS = """
from airflow.sdk import get_parsing_context

if get_parsing_context().task_id:
    raise RuntimeError("this task's process cannot start")

def hold(ti):
    pass
"""
