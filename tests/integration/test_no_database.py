"""Commands about pipeline files run where there is no Airflow database, and make none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PIPELINE = """
dag: {schedule: "@daily"}
stage_transfers:
  - {name: load, operator: airflow.providers.standard.operators.bash.BashOperator, operator_args: {bash_command: "true"}}
"""


@pytest.mark.parametrize(
    "arguments",
    [["validate", "orders.yaml"], ["plan", "orders.yaml"], ["schema"], ["new", "shop"], ["queries", "show", "slow"]],
    ids=lambda words: words[0],
)
def test_a_command_needs_no_database(tmp_path, arguments):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (work / "orders.yaml").write_text(PIPELINE)
    unusable = f"sqlite:///{tmp_path}/no such folder/airflow.db"
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": unusable}
    called = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", *arguments]
    done = subprocess.run(called, cwd=work, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert [path for path in tmp_path.rglob("*") if ".db" in path.name or "sqlite" in path.name] == []
    assert not (tmp_path / "no such folder").exists()
