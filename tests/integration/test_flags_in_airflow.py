"""The table of flags, row by row, in Airflow: every state, every record, every reason."""

from __future__ import annotations

import logging
from itertools import groupby
from operator import attrgetter

import pytest

from airflow_provider_pipetrack import TrackingStore, build_dag
from tests.flags import rows, write_pipeline

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

TABLE = rows()
WAYS = sorted({row.upstream for row in TABLE})
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"


@pytest.fixture(scope="module")
def dags(airflow_home):
    """One Dag for each way in which the upstream can end, with a transfer for each combination of flags."""
    folder = airflow_home / "dags" / "flags"
    folder.mkdir()
    (folder / "load_flags.py").write_text(LOADER)
    ordered = sorted(TABLE, key=attrgetter("upstream"))
    return {
        upstream: build_dag(write_pipeline(folder, upstream, list(group)))
        for upstream, group in groupby(ordered, key=attrgetter("upstream"))
    }


@pytest.mark.parametrize("upstream", WAYS)
def test_airflow_does_what_the_table_says(dags, upstream):
    logging.disable(logging.INFO)
    try:
        run = dags[upstream].test()
    finally:
        logging.disable(logging.NOTSET)
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    with TrackingStore.from_settings() as store:
        records = {record["task_id"]: record for record in store.read_run(run.dag_id, run.run_id).records}
    wanted = [row for row in TABLE if row.upstream == upstream]
    for row in wanted:
        record = records[row.name]
        reason = f"{record['decision'] or ''} {record['error_message'] or ''}"
        found = (states[row.name], states.get(f"{row.name}__audit", ""), record["transfer_status"])
        assert found == (row.transfer, row.audit, row.status), (row, record)
        assert row.reason in reason, (row, record)
        assert row.reason or not reason.strip(), (row, record)
    assert str(run.state) == ("failed" if any(row.run == "failed" for row in wanted) else "success")
