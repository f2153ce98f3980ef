"""What makes a tracking record one record: Dag, run, transfer, map index and attempt."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

#: Left readable in a record id; everything else, the separator included, is percent-encoded.
_READABLE = ":+.-_~@ ,="
_SEPARATOR = "/"
#: Longest id of a Dag, run, task or pipeline, in characters; Airflow's own limit. Indexes of databases have one, too.
MAX_ID = 250


@dataclass(frozen=True)
class RecordKey:
    """The identity of one attempt.

    :param dag_id: the Dag that runs the transfer.
    :param run_id: the Dag run.
    :param name: the transfer's name, which is also its task id.
    :param map_index: index of a mapped transfer, -1 when it is not mapped.
    :param attempt: Airflow's ``try_number``, from 1.
    """

    dag_id: str
    run_id: str
    name: str
    map_index: int = -1
    attempt: int = 1

    @property
    def record_id(self) -> str:
        """The key as one readable text, for example ``orders/manual__1/load_orders/-1/1``."""
        parts = (self.dag_id, self.run_id, self.name, str(self.map_index), str(self.attempt))
        return _SEPARATOR.join(quote(part, safe=_READABLE, errors="surrogatepass") for part in parts)

    @classmethod
    def parse(cls, record_id: str) -> RecordKey:
        """The key that ``record_id`` was made from.

        :raises ValueError: when the text is no record id.
        """
        parts = record_id.split(_SEPARATOR)
        try:
            dag_id, run_id, name = (unquote(part, errors="surrogatepass") for part in parts[:3])
            map_index, attempt = map(int, parts[3:])
        except ValueError:
            raise ValueError(
                f"{record_id[:MAX_ID]!r} is not a record id: expected dag_id/run_id/name/map_index/attempt, each "
                "percent-encoded"
            ) from None
        return cls(dag_id, run_id, name, map_index, attempt)

    @property
    def retry_attempt_number(self) -> int:
        """How many attempts came before this one."""
        return self.attempt - 1

    def columns(self) -> dict[str, str | int]:
        """The identity columns of the record."""
        return {
            "record_id": self.record_id,
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.name,
            "map_index": self.map_index,
            "retry_attempt_number": self.retry_attempt_number,
        }
