"""The model of a pipeline file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, StrictBool, StrictInt, StrictStr, ValidationError

from airflow_provider_pipetrack.config.checks import Checker
from airflow_provider_pipetrack.config.defaults import slug
from airflow_provider_pipetrack.config.functions import UserFunctions
from airflow_provider_pipetrack.config.problems import Path as KeyPath
from airflow_provider_pipetrack.config.problems import explain, in_file_order
from airflow_provider_pipetrack.config.reader import Document, read
from airflow_provider_pipetrack.config.remainder import without_mistakes
from airflow_provider_pipetrack.config.transfer import StageTransfer, runtime_hint
from airflow_provider_pipetrack.config.types import DeadlineText, DottedPath, Limit, Model, Moment, MomentText
from airflow_provider_pipetrack.errors import ConfigError, Problem
from airflow_provider_pipetrack.records.masking import without_secrets


class PipelineMetadata(Model):
    """What the pipeline is."""

    pipeline_id: Annotated[StrictStr, Field(max_length=250)] = ""
    """Identifier of the pipeline, of at most 250 characters; may be a template of the run. Default: the file's stem."""
    pipeline_name: StrictStr = ""
    """Name for people."""
    pipeline_description: StrictStr = ""
    """Description for people."""
    pipeline_version: StrictStr = ""
    """Version, in the user's own counting."""
    created_by: StrictStr = ""
    """Who made it."""
    created_timestamp: MomentText | None = None
    """When it was made."""


class DagSettings(Model):
    """Arguments of the Airflow Dag."""

    dag_id: Annotated[StrictStr, Field(max_length=250, pattern=r"^[\w.-]+$")] | None = None
    """Default: the slug of the pipeline's id."""
    schedule: StrictStr | None = None
    """Cron expression, preset such as `@daily`, or a duration; none by default."""
    start_date: Moment | None = None
    """First date; UTC where no zone is written."""
    end_date: Moment | None = None
    """Last date."""
    catchup: StrictBool = False
    """Whether Airflow runs the dates since `start_date`."""
    tags: tuple[StrictStr, ...] = ()
    """Tags beside `pipetrack`."""
    description: StrictStr | None = None
    """Default: the pipeline's name or description."""
    doc_md: StrictStr | None = None
    """Documentation in Airflow's UI."""
    max_active_runs: Annotated[StrictInt, Field(ge=1)] | None = None
    """Runs at once."""
    max_active_tasks: Annotated[StrictInt, Field(ge=1)] | None = None
    """Tasks at once."""
    default_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of every task."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of a run."""
    deadline: DeadlineText | None = None
    """How long a run may take before people are told: a duration, or `estimated` for the sum of the estimates along the
    longest way. Airflow 3.2 and later."""
    dagrun_timeout: Limit | None = None
    """After this time Airflow stops a run."""
    is_paused_upon_creation: StrictBool | None = None
    """Whether the Dag starts paused."""
    owner_links: dict[str, StrictStr] = Field(default_factory=dict)
    """Link of each owner."""
    fail_fast: StrictBool = False
    """Whether the first failure ends the run."""
    render_template_as_native_obj: StrictBool = False
    """Whether templates give Python values instead of texts."""


class TrackingSettings(Model):
    """How the pipeline's records are kept."""

    mode: Literal["fallback", "mirror"] | None = None
    """`fallback`: the first location that answers; `mirror`: all of them."""
    connections: dict[str, StrictStr] = Field(default_factory=dict)
    """Airflow connection of each type of location."""
    conn_id: StrictStr | None = None
    """Connection of type `pipetrack` that holds a whole chain."""
    delivery: Literal["now", "batch"] = "now"
    """`now`, or `batch`: that a transfer is pending or has begun is delivered together with its end, in one write;
    until then only this host sees it. What a killed task leaves in the local journal is delivered by reconcile."""


class AlertSettings(Model):
    """Whom to tell beside the mail addresses."""

    notifier: DottedPath
    """Class of an Airflow notifier."""
    on: tuple[Literal["failed", "mismatched", "overdue", "rollback_owed", "undelivered"], ...] = (
        "failed",
        "mismatched",
        "overdue",
        "rollback_owed",
    )
    """What to tell."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the notifier; texts may be templates."""


class PipelineConfig(Model):
    """A pipeline file: what it is, how Airflow runs it, and its transfers."""

    pipeline_metadata: PipelineMetadata = Field(default_factory=PipelineMetadata)
    """What the pipeline is."""
    dag: DagSettings = Field(default_factory=DagSettings)
    """Arguments of the Airflow Dag."""
    user_functions: StrictStr = ""
    """Module, or `.py` file beside this file, with the user's functions."""
    variables: dict[str, Any] = Field(default_factory=dict)
    """Names for f-strings and templates."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Merged under every transfer: scalars and lists replace, mappings merge."""
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)
    """How records are kept."""
    storage_adapters: dict[str, DottedPath] = Field(default_factory=dict)
    """Class of each type of location of the user's own."""
    alerts: tuple[AlertSettings, ...] = ()
    """Whom to tell beside the mail addresses."""
    on_schema_change: Literal["warn", "fail"] = "warn"
    """What to do when the stages change under an unchanged version."""
    stage_transfers: Annotated[tuple[StageTransfer, ...], Field(json_schema_extra={"minItems": 1})]
    """The transfers."""

    _name: str = PrivateAttr("pipeline")
    _source: Path | None = PrivateAttr(None)
    _document: Document | None = PrivateAttr(None)

    @classmethod
    def from_file(cls, path: str | Path, *, check_rest: RestCheck | None = None) -> PipelineConfig:
        """Read a pipeline file.

        :param path: a ``.yaml``, ``.yml`` or ``.json`` file.
        :param check_rest: finds more mistakes in what is left of a file without its mistakes, so that all of them are
            named at once; it also gets the indexes of the transfers that have lost something.
        :raises ConfigError: with every mistake in the file.
        """
        source = Path(path)
        try:
            text = source.read_bytes()
        except OSError as error:
            raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
        return cls._parse(text, str(path), source.stem, source, check_rest)

    @classmethod
    def from_text(cls, text: str, name: str) -> PipelineConfig:
        """Read a pipeline from its text.

        :param name: stands for the file's name; ``.json`` at its end means strict JSON.
        :raises ConfigError: with every mistake in the text.
        """
        return cls._parse(text, name, Path(name).stem, None)

    @classmethod
    def _parse(
        cls, text: str | bytes, file: str, stem: str, source: Path | None, check_rest: RestCheck | None = None
    ) -> PipelineConfig:
        from airflow_provider_pipetrack.collector import collector_paused

        with collector_paused():
            document = read(text, file, is_json=_is_json(file))
            checker = Checker(document, cls, source.parent if source else None)
            data = checker.prepare()
            model = cls._validate(data, checker)
        if checker.problems or model is None:
            rest, changed = without_mistakes(cls, data) if check_rest is not None else (None, frozenset())
            if check_rest is not None and rest is not None:
                checker.take(check_rest(rest.attach(stem, source, document), changed))
            raise ConfigError(in_file_order(checker.problems))
        return model.attach(stem, source, document)

    @classmethod
    def _validate(cls, data: Any, checker: Checker) -> PipelineConfig | None:
        if not isinstance(data, dict):
            checker.add((), "a pipeline file is a mapping with the key stage_transfers")
            return None
        model = None
        try:
            model = cls.model_validate(data)
        except ValidationError as error:
            for path, message, suggestion, is_key in explain(error, cls):
                checker.add(path, runtime_hint(path) or message, suggestion, key=is_key)
        checker.check(data)
        return model

    def attach(self, name: str, source: Path | None, document: Document | None = None) -> PipelineConfig:
        """Tell a model where it comes from, and return it."""
        self._name = name
        self._source = source
        self._document = document
        return self

    @property
    def name(self) -> str:
        """The file's stem."""
        return self._name

    @property
    def source(self) -> Path | None:
        """The file, or None for a pipeline that was read from a text."""
        return self._source

    @property
    def pipeline_id(self) -> str:
        """The pipeline's id; may be a template of the run."""
        return self.pipeline_metadata.pipeline_id or self._name

    @property
    def pipeline_version(self) -> str | None:
        """The pipeline's version, or None."""
        return self.pipeline_metadata.pipeline_version or None

    @cached_property
    def dag_id(self) -> str:
        """The Dag's id: as given, else the slug of the pipeline's id; of the file's stem when that gives none."""
        if self.dag.dag_id:
            return self.dag.dag_id
        given = self.pipeline_metadata.pipeline_id
        is_template = "{{" in given or "{%" in given
        return ("" if is_template else slug(given)) or slug(self._name) or "pipeline"

    @cached_property
    def functions(self) -> UserFunctions:
        """The user's functions."""
        return UserFunctions(self.user_functions, self._source.parent if self._source else None)

    def public_content(self, more_secrets: tuple[str, ...] = ()) -> Any:
        """Return everything that the file says as plain values, with defaults filled in and secrets left out.

        :param more_secrets: more words that name a secret when they stand in a key.
        """
        return without_secrets(self.model_dump(mode="json", exclude={"defaults"}), more_secrets)

    @cached_property
    def config_hash(self) -> str:
        """SHA-256 of everything that the file says, with defaults filled in and secrets left out."""
        text = json.dumps(self.public_content(), sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def problem(
        self, transfer: StageTransfer | None, key: str | KeyPath, message: str, suggestion: str = ""
    ) -> Problem:
        """Return a problem at a key of a transfer, or of the file when ``transfer`` is None.

        :param key: dotted keys below the transfer, or these as a tuple when there are places of lists among them; may
            be empty.
        """
        path: KeyPath = key if isinstance(key, tuple) else tuple(key.split(".")) if key else ()
        if transfer is not None:
            index = next(i for i, row in enumerate(self.stage_transfers) if row is transfer)
            path = ("stage_transfers", index, *path)
        document = self._document or self._read_again()
        if document is None:
            from airflow_provider_pipetrack.config.problems import path_text

            return Problem(str(self._source or self._name), 0, 0, path_text(path), message, suggestion)
        return document.problem(path, message, suggestion)

    def to_json(self) -> str:
        """Return the model as text that :meth:`from_json` reads fast."""
        return self.model_dump_json(exclude={"defaults"}, exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str | bytes, name: str, source: Path | None) -> PipelineConfig:
        """Return the model that :meth:`to_json` wrote; its mistakes were found before.

        :raises ValueError: when the text is something else.
        """
        return cls.model_validate_json(text).attach(name, source)

    def _read_again(self) -> Document | None:
        """Return the file's positions; a model from the cache has none until somebody asks."""
        if self._source is None:
            return None
        try:
            file = str(self._source)
            self._document = read(self._source.read_bytes(), file, is_json=_is_json(file))
        except (OSError, ConfigError):
            return None
        return self._document


def _is_json(file: str) -> bool:
    return file.lower().endswith(".json")


#: Finds mistakes in what is left of a file without others, and without a part of the transfers with these indexes.
RestCheck = Callable[[PipelineConfig, frozenset[int]], Iterable[Problem]]
