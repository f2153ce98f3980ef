"""Pages over a million records: what a page takes, against the bare SQL of the questions that it asks."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastapi.testclient import TestClient

from airflow_provider_pipetrack.records.queries import DIALECTS, Asked
from airflow_provider_pipetrack.tracking.questions import Answer, Questions
from airflow_provider_pipetrack.tracking.store import TrackingStore
from airflow_provider_pipetrack.ui import rights
from airflow_provider_pipetrack.ui.app import build_app
from airflow_provider_pipetrack.ui.asking import Desk
from benchmarks.questions import fill_sqlite, print_report, seconds_of

PAGES = {
    "overview": "",
    "runs": "runs",
    "failed runs": "runs?status=failed",
    "transfers": "transfers",
    "transfers, page 100, slowest first": "transfers?transfers.sort=-actual_seconds&transfers.page=100",
    "transfers of an owner": "transfers?owner=team_3",
    "attention": "attention",
    "audits": "audits",
    "readiness of a stage": "ready?stage=stage%207&pipeline_id=pipeline_1",
    "a pipeline": "p/pipeline_1?dag_id=dag_1",
    "a run": "p/pipeline_1/r/scheduled__42?dag_id=dag_1",
    "a transfer": "p/pipeline_1/t/transfer_3?dag_id=dag_1",
    "API: pipelines": "api/v1/pipelines",
    "API: transfers": "api/v1/transfers?limit=1000",
}


class Heard(Questions):
    """Questions that remember what they were asked."""

    def __init__(self, store: TrackingStore) -> None:
        super().__init__(store)
        self.heard: list[Asked] = []

    def ask(self, question: str, **more: Any) -> Answer:
        """Remember a question, and answer it."""
        filters = {name: value for name, value in more.items() if name not in _ASIDE and value is not None}
        told = {name: more[name] for name in _ASIDE if name in more}
        told["dag_ids"] = sorted(told.get("dag_ids") or ())
        self.heard.append(Asked(question, filters, **told))
        return super().ask(question, **more)


_ASIDE = ("dag_ids", "limit", "offset", "order_by", "descending")


def compare(count: int, runs: int, location: str) -> Iterator[tuple[str, float, float]]:
    """Yield for each page the seconds of the bare SQL of its questions, and of the page."""
    with TrackingStore([location], journal_dir=tempfile.mkdtemp(prefix="bench-journal-")) as store:
        adapter: Any = store.legs[0].adapter
        fill_sqlite(adapter, count)
        dags = {f"dag_{number}" for number in range(max(1, count // 5000))}
        rights.readable_dags = lambda user: dags  # type: ignore[assignment]
        rights.may_see_health = lambda user: True  # type: ignore[assignment]
        questions = Heard(store)
        client = TestClient(build_app(login=lambda: "reader", desk=Desk(lambda: questions)))
        for name, path in PAGES.items():
            questions.heard.clear()
            page = _getter(client, path)
            page()
            bare = _sql_of(adapter, list(questions.heard))
            pairs = [(seconds_of(bare), seconds_of(page)) for _ in range(runs)]
            yield name, *(statistics.median(times) for times in zip(*pairs, strict=True))


def _getter(client: TestClient, path: str) -> Callable[[], None]:
    def get() -> None:
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, answer.text
        assert "could not be asked" not in answer.text

    return get


def _sql_of(adapter: Any, heard: list[Asked]) -> Callable[[], None]:
    """Return what runs the bare SQL of questions."""
    dialect = DIALECTS[adapter._query_dialect]
    written = [(asked.statements(dialect, adapter.statements.name), asked.values(dialect)) for asked in heard]

    def run() -> None:
        for statements, values in written:
            with adapter._transaction() as connection:
                rows = adapter._query(connection, statements[0], values)
                if not (rows and "total" in rows[0]):
                    adapter._query(connection, statements[1], values)

    return run


def report(count: int, runs: int) -> int:
    """Print the figures; return how many pages take more than twice the bare SQL."""
    folder = Path(tempfile.mkdtemp(prefix="bench-pages-"))
    try:
        location = f"sqlite||{folder}/tracking.db||pipeline_tracking"
        return print_report(f"pages, SQLite, {count:,} records", compare(count, runs, location), "page", 0.05)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(1 if report(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, runs=5) else 0)
