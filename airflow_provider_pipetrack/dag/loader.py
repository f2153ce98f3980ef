"""From files to Dags: what a Dag file, a stub of the bundle or Airflow's own importer calls."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_parsing_context

from airflow_provider_pipetrack.collector import collector_paused
from airflow_provider_pipetrack.compat import keeps_dags, serialize
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.config.defaults import slug
from airflow_provider_pipetrack.dag.factory import build_dag, find_problems
from airflow_provider_pipetrack.dag.files import Verdict, is_there, pipeline_files, read_pipeline, settle
from airflow_provider_pipetrack.dag.graph import plan_graph
from airflow_provider_pipetrack.errors import ConfigError, Problem

log = logging.getLogger("airflow_provider_pipetrack.loader")


def load_pipelines(namespace: MutableMapping[str, Any], folder: str | Path | None = None) -> dict[str, DAG]:
    """Build the Dag of every pipeline file beside the calling file, or in ``folder``, and put it into ``namespace``.

    A broken file stops no other; its problems are logged, and shown in Airflow by :func:`report_problems`. When
    Airflow starts a task, only the Dag of that task is built.

    :param namespace: the caller's ``globals()``.
    :param folder: where the pipeline files are, seen from the calling file; folders below it are searched too.
    :return: the Dags by their ids.
    :raises PipetrackError: when there is no such folder, or it cannot be read.
    """
    root = _beside(namespace, folder)
    with collector_paused():
        dags = _build_all(_wanted(root, get_parsing_context().dag_id))
    namespace.update((f"pipetrack_{dag_id}", dag) for dag_id, dag in dags.items())
    return dags


def report_problems(folder: str | Path | None = None) -> None:
    """Raise with the problems of every broken pipeline file beside the calling file, or in ``folder``.

    Call it in a Dag file of its own: Airflow then lists the problems as that file's import error, and the Dags that
    ``load_pipelines`` has built keep running.

    :param folder: as with :func:`load_pipelines`.
    :raises ConfigError: when there is a problem.
    :raises PipetrackError: when there is no such folder, or it cannot be read.
    """
    if get_parsing_context().dag_id is not None:
        return  # a task is starting; nobody looks at problems now
    frame = inspect.currentframe()
    caller = frame.f_back if frame else None
    problems = find_all_problems(_beside(caller.f_globals if caller else {}, folder))
    if problems:
        raise ConfigError(problems)


def _beside(namespace: Mapping[str, Any], folder: str | Path | None) -> Path:
    """Return a folder as it is meant in a Python file, or the folder of that file."""
    here = Path(namespace["__file__"]).parent if "__file__" in namespace else Path()
    return here / folder if folder is not None else here


def load_pipeline(namespace: MutableMapping[str, Any], file: str | Path, folder: str | Path) -> None:
    """Build the Dag of one pipeline file and put it into ``namespace``; a file that is gone gives none.

    :param namespace: the caller's ``globals()``.
    :param file: the pipeline file.
    :param folder: the folder of pipelines that it was found in.
    :raises ConfigError: with every mistake in it, also when an earlier file of the folder has the same Dag id.
    """
    if is_there(Path(file)) is False:
        log.info("%s is gone", file)
        return
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # as Airflow does with its own bundles; here it knows the folder of stubs only
    dag = build_file(Path(file), Path(folder))
    namespace[f"pipetrack_{dag.dag_id}"] = dag


def build_file(path: Path, folder: Path) -> DAG:
    """Return the Dag of one pipeline file.

    :param folder: the folder of pipelines that it was found in; of two files with one Dag id the first one has it.
    :raises ConfigError: with every mistake in it.
    """
    verdict = read_pipeline(path)
    dag = _dag_of(verdict)
    if get_parsing_context().dag_id is None and verdict.config is not None:
        owner = _first_with(dag.dag_id, folder, before=path)
        if owner is not None:
            raise ConfigError([_claimed_twice(verdict.config, owner)])
    return dag


def find_all_problems(root: Path) -> list[Problem]:
    """Return the problems of every pipeline file in a folder and below."""
    return find_problems_in(path for path, _ in pipeline_files(root))


def find_problems_in(paths: Iterable[Path], *, build_all: bool = False) -> list[Problem]:
    """Return the problems of pipeline files, Dag ids that appear twice included.

    :param build_all: build and serialize every Dag, to see whether Airflow takes it; else only build those that nobody
        has built yet.
    """
    problems: list[Problem] = []
    owners: dict[str, Path] = {}
    for path in paths:
        verdict = read_pipeline(path)
        problems.extend(_problems_of(verdict, build=build_all or not verdict.proven, serialized=build_all))
        config = verdict.config
        if config is None:
            continue
        if config.dag_id in owners:
            problems.append(_claimed_twice(config, owners[config.dag_id]))
        owners.setdefault(config.dag_id, path)
    return problems


def _claimed_twice(config: PipelineConfig, owner: Path) -> Problem:
    message = f"the Dag id {config.dag_id!r} is already that of {owner}; set another dag.dag_id"
    key = "dag.dag_id" if config.dag.dag_id else "pipeline_metadata.pipeline_id"
    return config.problem(None, key, message)


def _first_with(dag_id: str, folder: Path, *, before: Path) -> Path | None:
    """Return the first file of a folder that has a Dag id, or None when ``before`` comes first itself."""
    may_define = _may_define(dag_id)
    for path, data in pipeline_files(folder):
        if path == before:
            return None
        if may_define(path, data):
            config = read_pipeline(path).config
            if config is not None and config.dag_id == dag_id:
                return path
    return None


def _build_all(verdicts: Iterable[Verdict]) -> dict[str, DAG]:
    dags: dict[str, DAG] = {}
    for verdict in verdicts:
        dag = _build(verdict)
        if dag is not None and dag.dag_id in dags:
            log.error("%s: the Dag id %r is already that of another file; this is left out", verdict.path, dag.dag_id)
        elif dag is not None:
            dags[dag.dag_id] = dag
    return dags


def _wanted(root: Path, dag_id: str | None) -> Iterable[Verdict]:
    """Yield the files to build; for a task start only the one of its Dag, found by searching the files' bytes."""
    files = list(pipeline_files(root))
    if dag_id is None:
        yield from (read_pipeline(path) for path, _ in files)
        return
    may_define = _may_define(dag_id)
    likely = [path for path, data in files if may_define(path, data)]
    others = [path for path, _ in files if path not in set(likely)]
    broken = []
    for path in [*likely, *others]:
        verdict = read_pipeline(path)
        if verdict.config is not None and verdict.config.dag_id == dag_id:
            yield verdict
            return
        if path in likely and verdict.config is None:
            broken.append(verdict)
    yield from broken  # the task cannot start, and its log says why


def _may_define(dag_id: str) -> Callable[[Path, bytes], bool]:
    """Return what tells, from a file's path and bytes, whether it may be that of a Dag; it may say yes too often."""
    # What becomes "_" in a Dag id may be anything in the file.
    mentioned = re.compile(b"[^A-Za-z0-9.-]+".join(re.escape(part.encode()) for part in dag_id.split("_")))
    return lambda path, data: mentioned.search(data) is not None or slug(path.stem) == dag_id


def _build(verdict: Verdict) -> DAG | None:
    problems: Iterable[Problem] = ()
    try:
        return _dag_of(verdict)
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        log.error("%s", problem)
    return None


def _problems_of(verdict: Verdict, *, build: bool, serialized: bool) -> Iterable[Problem]:
    if verdict.config is not None and not build:
        return find_problems(verdict.config, plan_graph(verdict.config.stage_transfers))
    try:
        dag = _dag_of(verdict)
        if serialized:
            _serialize(verdict, dag)
    except ConfigError as error:
        return error.problems
    return ()


def _dag_of(verdict: Verdict) -> DAG:
    """Return the Dag of a file that was read.

    Airflow holds a Dag that it cannot serialize against all Dags of the same Python file. So where it is about to keep
    a Dag, one that was never serialized before is tried first.

    :raises ConfigError: with everything that is wrong with it.
    """
    if verdict.config is None:
        raise ConfigError(verdict.problems)
    try:
        dag = build_dag(verdict.config)
        if not verdict.proven and keeps_dags():
            _serialize(verdict, dag)
    except ConfigError:
        settle(verdict, taken=False)
        raise
    except Exception as error:
        log.exception("%s: the Dag cannot be built", verdict.path)
        settle(verdict, taken=False)
        reason = f"the Dag cannot be built: {type(error).__name__}: {error}"
        raise ConfigError([Problem(str(verdict.path), 0, 0, "", reason)]) from None
    settle(verdict, taken=True)
    return dag


def _serialize(verdict: Verdict, dag: DAG) -> None:
    """Serialize a Dag as Airflow will.

    :raises ConfigError: when that is not possible.
    """
    try:
        serialize(dag)
    except Exception as error:  # noqa: BLE001  it may be anybody's operator
        problem = Problem(str(verdict.path), 0, 0, "", f"Airflow cannot keep the Dag: {error}")
        raise ConfigError([problem]) from None
