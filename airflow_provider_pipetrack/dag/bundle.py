"""PipetrackDagBundle: a folder of pipeline files as an Airflow Dag bundle, without any Python file of the user's."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack import __version__, settings
from airflow_provider_pipetrack.compat import airflow_option, dag_bundle_base
from airflow_provider_pipetrack.dag.stubs import write_stubs

log = logging.getLogger("airflow_provider_pipetrack.bundle")


class PipetrackDagBundle(dag_bundle_base()):  # type: ignore[misc]
    """Every pipeline file of a folder and below becomes a Dag; a broken one is an import error of its own.

    Airflow looks for Python files only, so the bundle keeps a stub for each pipeline file in a folder of its own:
    two lines of code, and the file's text, which Airflow shows as the Dag's code. Name it in ``[dag_processor]
    dag_bundle_config_list``, for every component of Airflow, beside the bundle of your dags folder::

        [{"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}},
         {"name": "pipelines", "classpath": "airflow_provider_pipetrack.dag.bundle.PipetrackDagBundle",
          "kwargs": {"path": "/opt/pipelines", "refresh_interval": 30}}]

    :param path: the folder of pipeline files; Airflow's dags folder when not given.
    :param refresh_interval: seconds between two looks for files that are new or gone; ``[dag_processor]
        refresh_interval`` when not given. A changed file is seen sooner, whenever Airflow parses its Dag again.

    All other arguments are those of every Dag bundle.
    """

    supports_versioning = False

    def __init__(self, *, path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        folder = Path(path or airflow_option("core", "dags_folder") or "dags").expanduser()
        self.source = folder if folder.is_absolute() else folder.absolute()
        self._stubs = self._places()[0]

    @property
    def path(self) -> Path:
        """Return the folder of stubs, which is where Airflow looks for Dags."""
        return self._stubs

    def initialize(self) -> None:
        """Write the stubs; called by the dag processor, and by each task before it starts.

        :raises PipetrackError: when the folder of pipeline files is missing or cannot be read.
        :raises OSError: when the stubs can be kept nowhere.
        """
        self.refresh()
        super().initialize()

    def refresh(self) -> None:
        """Write the stubs of pipeline files that are new or have changed, and remove those of files that are gone.

        :raises PipetrackError: when the folder of pipeline files is missing or cannot be read; the stubs then
            stay as they are.
        :raises OSError: when the stubs can be kept nowhere.
        """
        refused: OSError | None = None
        for place in self._places():
            try:
                write_stubs(self.source, place)
            except OSError as error:
                log.debug("no stubs in %s: %s", place, error)
                refused = refused or error
            else:
                self._stubs = place
                return
        raise refused or OSError("there is no place for stubs")

    def get_current_version(self) -> None:
        """Return None: there are no versions to go back to."""
        return

    def _places(self) -> list[Path]:
        """Return where the stubs may be kept: where Airflow keeps its bundles, else beside our other files.

        The name differs between folders, Airflows, users and versions, which may share a host's disk.
        """
        depends_on = (str(self.source), str(settings.airflow_home()), str(os.geteuid()), __version__)
        digest = hashlib.sha256("\0".join(depends_on).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return [self.base_dir / f"stubs-{digest}", settings.state_dir() / "stubs" / f"{self.name}-{digest}"]
