"""The plugin is known to Airflow, builds no page where there are none, and brings what tasks use before Airflow forks."""

from __future__ import annotations

import subprocess
import sys


def printed_by(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_airflow_finds_the_plugin_by_its_entry_point():
    shown = printed_by(
        "from airflow.plugins_manager import get_plugin_info\n"
        "for plugin in get_plugin_info():\n"
        "    if plugin['name'] == 'pipetrack': print(plugin['fastapi_apps'], plugin['external_views'])"
    )
    assert "'url_prefix': '/pipetrack'" in shown
    assert "'href': 'pipetrack/'" in shown


def test_it_builds_no_page_where_it_is_only_loaded():
    shown = printed_by(
        "import sys, airflow.plugins_manager, airflow_provider_pipetrack.compat as c; c.plugin_base()\n"
        "from airflow.sdk import DAG\n"  # brings jinja2 along
        "before = set(sys.modules)\n"
        "import airflow_provider_pipetrack.plugins.pipetrack\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    ours = [name for name in shown.split() if name.startswith("airflow_provider_pipetrack")]
    assert "airflow_provider_pipetrack.plugins.pipetrack" in ours
    assert not {"ui", "cli"} & {name.split(".")[1] for name in ours if "." in name}
    assert not {"fastapi", "jinja2", "starlette"} & {name.split(".")[0] for name in shown.split()}


def test_what_tasks_use_is_there_before_airflow_forks(tmp_path):
    shown = printed_by(
        f"import os, sys; os.environ['AIRFLOW_HOME'] = {str(tmp_path)!r}\n"
        "import airflow_provider_pipetrack.plugins.pipetrack\n"
        "from airflow_provider_pipetrack.records.statements import SQLITE, statements_of\n"
        "print(*sys.modules)\n"
        "print('written', *vars(statements_of(SQLITE, 'pipeline_tracking')))"
    )
    modules, written = (line.split() for line in shown.splitlines()[-2:])
    for name in ("operators.tracked", "dag.factory", "storage.sqlite"):
        assert f"airflow_provider_pipetrack.{name}" in modules
    assert {"upsert", "remember"} <= set(written)
    assert not list(tmp_path.rglob("tracking.db")), "nothing is opened, since no connection survives a fork"


def test_airflow_starts_when_nothing_can_be_imported_early(tmp_path):
    shown = printed_by(
        f"import os, sys; os.environ['AIRFLOW_HOME'] = {str(tmp_path)!r}\n"
        "sys.modules['airflow_provider_pipetrack.dag'] = None\n"
        "import airflow_provider_pipetrack.plugins.pipetrack as plugin\n"
        "print(plugin.PipetrackPlugin.name)"
    )
    assert shown.splitlines()[-1] == "pipetrack"


def test_no_link_starts_with_a_slash():
    from airflow_provider_pipetrack.plugins.pipetrack import PipetrackPlugin

    assert not [view for view in PipetrackPlugin.external_views for name in ("href", "icon") if view[name][:1] == "/"]
