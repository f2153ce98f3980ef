"""PipetrackDagImporter: pipeline files as a Dag source of Airflow itself, from Airflow 3.4 on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.compat import dag_importers
from airflow_provider_pipetrack.config.reader import looks_like_pipeline
from airflow_provider_pipetrack.dag.files import SUFFIXES
from airflow_provider_pipetrack.dag.loader import build_file
from airflow_provider_pipetrack.errors import ConfigError

_airflow = dag_importers()
_Base: Any = _airflow.AbstractDagImporter


class PipetrackDagImporter(_Base):  # type: ignore[misc]
    """Every pipeline file in a Dag bundle becomes a Dag; a broken one is an import error of its own.

    Name it in ``[dag_processor] dag_importer_configs``, or under ``importers`` of one bundle, for every component of
    Airflow::

        ["airflow_provider_pipetrack.dag.importer.PipetrackDagImporter"]

    An ending belongs to one importer. Files that are no pipeline are left alone.

    :param extensions: the endings of pipeline files; ``.yaml``, ``.yml`` and ``.json`` when not given.
    :raises ImportError: before Airflow 3.4, which has no importers; use ``PipetrackDagBundle`` there.
    """

    def __init__(self, extensions: Sequence[str] | None = None) -> None:
        self.supported_extensions = [f".{one.lower().lstrip('.')}" for one in (extensions or SUFFIXES)]

    def can_handle(self, definition: Any) -> bool:
        """Return whether a file's ending is one of ours."""
        return _airflow.get_file_suffix(definition) in self.supported_extensions

    def list_dag_definitions(self, bundle: Any, *, safe_mode: bool = True) -> Iterator[Any]:
        """Yield the pipeline files of a bundle; what cannot be read is yielded as an error."""
        for definition in _airflow.find_file_dag_definitions(bundle.path, self.supported_extensions):
            try:
                if self.might_contain_dag(definition, safe_mode):
                    yield definition
            except OSError as error:
                place = definition.get_relative_loc(bundle.path)
                yield _airflow.DagImportError(place, f"{place}: cannot be read: {error.strerror}", "read_error")

    def might_contain_dag(self, definition: Any, safe_mode: bool) -> bool:  # noqa: ARG002, FBT001  Airflow's signature
        """Return whether a file mentions ``stage_transfers``."""
        return looks_like_pipeline(definition.read_bytes())

    def import_definition(self, definition: Any, bundle: Any) -> Any:
        """Build the Dag of a pipeline file, or say everything that is wrong with it."""
        result = _airflow.DagImportResult(definition=definition)
        try:
            dag = build_file(Path(definition.path), Path(bundle.path))
        except ConfigError as error:
            # Without a stack trace Airflow shows the text as it is.
            result.errors.append(_airflow.DagImportError(repr(definition), str(error), "pipeline"))
            return result
        dag.fileloc = repr(definition)
        dag.relative_fileloc = definition.get_relative_loc(bundle.path)
        result.dags.append(dag)
        return result

    def get_source_code(self, definition: Any, dag_id: str | None = None) -> Any:  # noqa: ARG002  one file, one Dag
        """Return the file's text, for Airflow's code tab."""
        language = "json" if definition.suffix == ".json" else "yaml"
        return _airflow.DagSourceCode(definition.read_bytes().decode("utf-8", "backslashreplace"), language)
