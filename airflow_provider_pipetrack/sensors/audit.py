"""AuditSensor: the audit between two stages, as a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue

from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import Spec, are_of_one_index, binding_of
from airflow_provider_pipetrack.attempts.declare import declare, spec_from
from airflow_provider_pipetrack.attempts.errors import masked_text, tracking_step
from airflow_provider_pipetrack.attempts.gate import XCOM_KEY, answers_for, place_of
from airflow_provider_pipetrack.attempts.outlets import say_nothing, say_ready, sum_of
from airflow_provider_pipetrack.attempts.starting import make_ready
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import of_all_indexes
from airflow_provider_pipetrack.attempts.users import find_function
from airflow_provider_pipetrack.attempts.versions import check_version
from airflow_provider_pipetrack.audits.engine import AuditError, AuditResult, Finding, run_audit
from airflow_provider_pipetrack.callbacks.attach import as_list, hook_dag
from airflow_provider_pipetrack.callbacks.audit import tell_audit
from airflow_provider_pipetrack.compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    is_index,
    redact,
    redact_texts,
)
from airflow_provider_pipetrack.records.change import Change, utc_now
from airflow_provider_pipetrack.records.clean import plain_json
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import (
    AUDIT_ASKS_AGAIN,
    AUDIT_ENDED,
    AUDIT_FAILED,
    AUDIT_PASSED,
    NOT_CHECKED,
)
from airflow_provider_pipetrack.tracking.describe import audit_change
from airflow_provider_pipetrack.tracking.fitting import without_named_secrets

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from airflow_provider_pipetrack.config import StageTransfer

log = logging.getLogger("airflow_provider_pipetrack.audit")

_STAGES = ("stage_i_details", "stage_i_plus_1_details")
_FORBIDDEN = ("soft_fail", "never_fail", "silent_fail")
#: What is behind a skipped audit would be skipped, and the run would end well although nobody has looked at its data.
_SKIPPED = "its function raised AirflowSkipException, but an audit is never skipped; return pending to be asked again"


class AuditSensor(BaseSensorOperator):
    """Check the data of a stage transfer, and stop what comes after it when the data is wrong.

    A mismatch fails the task at once; it is never retried and never turned into a skip. ``pending`` is asked again
    until ``timeout``, and then fails too. An audit that raises is an error, retried ``retries`` times, and never
    counts as matched.

    :param transfer: the audited transfer: the task id of a tracked task of this Dag, or the transfer's fields as in a
        pipeline file.
    :param function: what audits: a callable, or the name of a function as in a pipeline file; it gets
        ``source_stage``, ``target_stage`` and ``audit_config``. Without one the audit passes at once with a warning.
    :param audit_config: handed to the function; merged over the transfer's ``audit_metadata``. Texts may be templates.
    :param on_mismatch: ``fail`` (default) or ``warn``: record that it mismatched, or was still pending when
        ``timeout`` was over, and go on.

    Assets among its ``outlets`` get their event, with the counts in it, only when the audit matched.

    All other arguments are those of a sensor, such as ``mode``, ``poke_interval`` and ``timeout`` in seconds.

    :raises ValueError: for ``soft_fail``, ``never_fail`` or ``silent_fail``, which would hide a mismatch; those of
        ``default_args`` do not count for an audit.
    """

    template_fields = ("audit_config",)
    ui_color = "#ffefd5"
    custom_operator_name = "Audit"
    #: Says so to a Dag whose audit is mapped, and so is not made before it runs.
    audits_a_transfer = True

    def __init__(
        self,
        *,
        transfer: StageTransfer | Mapping[str, Any] | str,
        function: Callable[..., Any] | str | None = None,
        audit_config: Mapping[str, Any] | None = None,
        on_mismatch: str | None = None,
        **kwargs: Any,
    ) -> None:
        hidden = [name for name in _FORBIDDEN if kwargs.get(name)]
        if hidden:
            raise ValueError(f"{hidden[0]} would hide a mismatch; use on_mismatch='warn' to go on in spite of one")
        if on_mismatch not in {None, "fail", "warn"}:
            raise ValueError(f"on_mismatch={on_mismatch!r}: expected 'fail' or 'warn'")
        self._pipetrack_spec = (
            None if isinstance(transfer, str) else spec_from(transfer, {"task_id": kwargs.get("task_id", "")}, kwargs)
        )
        self._pipetrack_name = transfer if isinstance(transfer, str) else self._pipetrack_spec.transfer.name  # type: ignore[union-attr]
        self.function = function
        self.on_mismatch = on_mismatch
        self.audit_config = dict(audit_config or {})
        self._rendered: Mapping[str, Any] | None = None
        self._undecided: Finding | None = None
        #: Whether this process has found that the data is wrong.
        self.found_mismatch = False
        kwargs.setdefault("retries", 0)
        # Said here, so that ``default_args``, which may mean other sensors, do not say otherwise.
        super().__init__(**{**kwargs, **dict.fromkeys(_FORBIDDEN, False)})
        if self.execution_timeout is None:
            # A function that hangs is ended too, not only one that stays pending.
            self.execution_timeout = timedelta(seconds=self.timeout + 60)
        if self.get_dag() is not None:
            self._bind(self.dag)
        if is_index(self):
            _prepared(self)

    @property
    def dag(self) -> DAG:
        """Return the task's Dag."""
        return BaseOperator.dag.fget(self)  # type: ignore[attr-defined,no-any-return]

    @dag.setter
    def dag(self, dag: DAG | None) -> None:
        BaseOperator.dag.fset(self, dag)  # type: ignore[attr-defined]
        if dag is not None:
            self._bind(dag)

    @property
    def pipetrack_spec(self) -> Spec:
        """The transfer that is audited."""
        if self._pipetrack_spec is None:
            self._pipetrack_spec = declare(self.dag, self._pipetrack_name)
        return self._pipetrack_spec

    def execute(self, context: Any) -> Any:
        """Ask until there is an answer; with ``on_mismatch="warn"``, go on without one when the time is over."""
        if self._pipetrack_name not in binding_of(self.dag).specs:
            # Nobody runs the transfer here who would do so.
            check_version(self, self.pipetrack_spec, store_for(self.pipetrack_spec))
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            if self._undecided is None or self._stops_on_mismatch():
                raise
        log.warning(
            "The audit of %s is still pending after %s s; going on, since on_mismatch is warn",
            self._pipetrack_name,
            self.timeout,
        )
        self._record(context, self._undecided, final=True, ended=AUDIT_PASSED)
        self._tell_downstream(context, self._undecided, checked=True)
        return self._undecided.result.value

    def prepare_for_execution(self) -> Any:
        """Return the task as the task process runs it, with the callbacks that only this process needs."""
        return _prepared(super().prepare_for_execution())

    def audited_record(self, context: Any) -> tuple[Mapping[str, Any], list[str]]:
        """Return the record of the attempt whose data is audited, as far as it is known; of all indexes, as of one.

        :return: the record, and the ids of those of all indexes: when one has loaded again, it is another audit.
        """
        keys = self._keys(context)
        key = max(keys, key=lambda known: known.attempt)
        ids = pipeline_ids(self.pipetrack_spec, key.dag_id)
        found = store_for(self.pipetrack_spec).read_record(key.record_id, ids)
        record: Mapping[str, Any] = found or announced(self.pipetrack_spec, context, key).columns
        if key.map_index < 0 or are_of_one_index(self.dag, self.task_id, self._pipetrack_name):
            return record, []
        return {**of_all_indexes(record), **sum_of(self._answers(context))}, [known.record_id for known in keys]

    def poke(self, context: Any) -> bool | PokeReturnValue:
        """Run the audit once.

        :return: True when it matched, False to ask again.
        :raises AirflowFailException: when it mismatched and that stops the pipeline.
        :raises AirflowException: when it could not be run.
        """
        function = self._function()
        if function is None:
            return self._pass_unchecked(context)
        finding = self._find(function, context)
        if finding.result is AuditResult.PENDING:
            self._undecided = finding
            log.info("The audit of %s is pending; it is asked again in %s s", self._pipetrack_name, self.poke_interval)
            self._record(context, finding, final=False, ended=AUDIT_ASKS_AGAIN)
            return False
        self._record(context, finding, final=True, ended=self._end_of(finding))
        self._tell_downstream(context, finding, checked=True)
        if finding.result is AuditResult.MISMATCHED:
            self.found_mismatch = True
            self._on_mismatch(finding)
        return PokeReturnValue(is_done=True, xcom_value=finding.result.value)

    def _bind(self, dag: DAG) -> None:
        binding_of(dag).audits.setdefault(self._pipetrack_name, self.task_id)
        hook_dag(dag)

    def _function(self) -> Callable[..., Any] | None:
        """Return what audits: given here, named by the transfer, or ``execute_audit`` of the user's functions."""
        spec = self.pipetrack_spec
        named = self.function or (spec.transfer.audit.function if spec.transfer.audit else None)
        if named:
            return find_function(spec, named)
        return spec.pipeline.functions.get("execute_audit") if spec.pipeline else None

    def _find(self, function: Callable[..., Any], context: Any) -> Finding:
        """Run the audit function; record that it could not be run when it raises."""
        transfer = self.pipetrack_spec.transfer
        record = self._stages(context)
        try:
            return run_audit(
                function,
                source_stage=record.get("stage_i_details") or "",
                target_stage=record.get("stage_i_plus_1_details") or "",
                audit_config=self._rendered_config(context),
                context=context,
            )
        except (AirflowException, AuditError) as raised:
            error = AuditError(_SKIPPED) if isinstance(raised, AirflowSkipException) else raised
            self._record_error(context, error)
            raise (
                error
                if isinstance(error, AirflowException)
                else AirflowException(f"the audit of {transfer.name} could not be judged: {error}")
            ) from None
        except Exception as error:
            self._record_error(context, error)
            raise

    def _config(self) -> dict[str, Any]:
        return {**(self._written() if self._rendered is None else self._rendered), **self.audit_config}

    def _rendered_config(self, context: Any) -> dict[str, Any]:
        """Return what the function is given; Airflow itself has rendered the templates of ``audit_config`` only.

        :raises AuditError: when a template has a mistake.
        """
        if self._rendered is None:
            try:
                self._rendered = self.render_template(self._written(), context)
            except AirflowException:
                raise
            except Exception as error:
                where = "a template in audit_metadata or audit.config cannot be rendered"
                raise AuditError(f"{where}: {type(error).__name__}: {error}") from error
        return self._config()

    def _written(self) -> dict[str, Any]:
        transfer = self.pipetrack_spec.transfer
        configured = dict(transfer.audit.config or {}) if transfer.audit else {}
        return {**dict(transfer.audit_metadata or {}), **configured}

    def _pass_unchecked(self, context: Any) -> PokeReturnValue:
        log.warning(
            "Transfer %s has audit_enabled: true but no audit function: its data is NOT checked. Name one under "
            "audit.function, define execute_audit in user_functions, or set audit_enabled: false",
            self._pipetrack_name,
        )
        finding = Finding(AuditResult.PENDING, {"warning": NOT_CHECKED})
        self._record(context, finding, final=True, ended=AUDIT_PASSED)
        self._tell_downstream(context, finding, checked=False)
        return PokeReturnValue(is_done=True, xcom_value=finding.result.value)

    def _on_mismatch(self, finding: Finding) -> None:
        transfer = self.pipetrack_spec.transfer
        evidence = redact(str(without_named_secrets(plain_json(finding.metadata))))
        sentence = f"the audit of {transfer.name} found a mismatch: {evidence[:2000]}"
        if self._stops_on_mismatch():
            raise AirflowFailException(sentence)
        log.warning("%s; going on, since on_mismatch is warn", sentence)

    def _end_of(self, finding: Finding) -> str | None:
        """Return how the audit ends, where its answer alone does not say so."""
        if finding.result is AuditResult.MATCHED:
            return None
        return AUDIT_FAILED if self._stops_on_mismatch() else AUDIT_PASSED

    def _stops_on_mismatch(self) -> bool:
        audit = self.pipetrack_spec.transfer.audit
        return (self.on_mismatch or (audit.on_mismatch if audit else "fail")) == "fail"

    def _tell_downstream(self, context: Any, finding: Finding, *, checked: bool) -> None:
        told: dict[str, Any] = {"audit_result": finding.result.value, "checked": checked}
        answers: list[Mapping[str, Any]] = []
        with tracking_step("find out what was audited"):  # the answer is known, and counts in any case
            answers = self._answers(context)
            told["audited"] = [[*place_of(answer)] for answer in answers]  # what loads again later is not audited
        if finding.result is AuditResult.MATCHED:
            with tracking_step("say that the stage has its data"):
                records = {"record_ids": [answer["record_id"] for answer in answers], **sum_of(answers)}
                moved = records if "audited" in told else {}
                say_ready(self, context, {**moved, "audit_result": finding.result.value})
        else:
            say_nothing(self)
        if finding.result is AuditResult.MISMATCHED and self._stops_on_mismatch():
            told["stops"] = True  # unless somebody sets the audit to success
        context["ti"].xcom_push(key=XCOM_KEY, value={**told, "map_index": context["ti"].map_index})

    def record_failure(self, context: Any, error: BaseException) -> None:
        """Record that the audit failed without an answer, and that nobody tries it again."""
        said = self._undecided.metadata if self._undecided else {}
        finding = Finding(AuditResult.PENDING, {**said, "error": _error_text(error)})
        self._record(context, finding, final=True, ended=AUDIT_FAILED)

    def _record_error(self, context: Any, error: BaseException) -> None:
        finding = Finding(AuditResult.PENDING, {"error": _error_text(error)})
        self._record(context, finding, final=False, ended=AUDIT_ASKS_AGAIN)

    def _record(self, context: Any, finding: Finding, *, final: bool, ended: str | None) -> None:
        """Record what the audit says.

        :param ended: whether the audit passed, failed or asks again, where its result alone does not say so.
        """
        with tracking_step("record the audit"):
            # A template, or the audit itself, may have asked for a connection's password.
            said = redact_texts(plain_json({**self._config(), **finding.metadata}))
            said.pop(AUDIT_ENDED, None)
            metadata = {
                # First, since metadata that is very long is cut.
                **({AUDIT_ENDED: ended} if ended else {}),
                **said,
                "audit_task": self.task_id,
                "audited_at": utc_now().isoformat(),
            }
            try_number = max(1, context["ti"].try_number or 1)
            store = store_for(self.pipetrack_spec)
            changes = [
                audit_change(base, finding.result.value, metadata, try_number=try_number, final=final)
                for base in self._audited_attempts(context)
            ]
            store.submit(changes, durable=final)
            store.flush()

    def _audited_attempts(self, context: Any) -> Iterable[Change]:
        """Yield the lowest change of each attempt whose data is audited: the last one of each map index."""
        for key in self._keys(context):
            yield announced(self.pipetrack_spec, context, key)

    def _keys(self, context: Any) -> list[RecordKey]:
        keys = [RecordKey.parse(answer["record_id"]) for answer in self._answers(context)]
        return keys or self._stored_keys(context)

    def _answers(self, context: Any) -> list[Mapping[str, Any]]:
        """Return what the audited attempts said when they ended."""
        return answers_for(self, context, self._pipetrack_name)

    def _stored_keys(self, context: Any) -> list[RecordKey]:
        """Ask the store, for a transfer that was set to success by hand and so said nothing itself."""
        ti = context["ti"]
        latest: dict[int, RecordKey] = {}
        known = pipeline_ids(self.pipetrack_spec, ti.dag_id)
        is_own = are_of_one_index(self.dag, self.task_id, self._pipetrack_name)
        for record in store_for(self.pipetrack_spec).read_run(ti.dag_id, ti.run_id, known).records:
            if record["task_id"] == self._pipetrack_name and (not is_own or record["map_index"] == ti.map_index):
                key = RecordKey.parse(record["record_id"])
                if key.attempt >= latest.get(key.map_index, key).attempt:
                    latest[key.map_index] = key
        index = ti.map_index if is_own else -1
        return list(latest.values()) or [RecordKey(ti.dag_id, ti.run_id, self._pipetrack_name, index)]

    def _stages(self, context: Any) -> Mapping[str, Any]:
        """Return the stage texts as the audited attempt resolved them."""
        answers = self._answers(context)
        said = answers[-1] if answers else {}
        key = RecordKey.parse(said["record_id"]) if said else self._stored_keys(context)[-1]
        base = announced(self.pipetrack_spec, context, key).columns
        if all(said.get(name, base.get(name)) is not None for name in _STAGES):
            # No storage has to answer: the attempt itself has said what is computed.
            return {name: said.get(name, base.get(name)) for name in _STAGES}
        known = pipeline_ids(self.pipetrack_spec, key.dag_id)
        return store_for(self.pipetrack_spec).read_record(key.record_id, known) or base


def _error_text(error: BaseException) -> str:
    return masked_text(f"{type(error).__name__}: {error}")[:2000]


def _prepared(audit: Any) -> Any:
    """Return an audit of this process with its storage under way, and callbacks that tell people how it ended."""
    for name in ("on_success_callback", "on_failure_callback"):
        setattr(audit, name, [*as_list(getattr(audit, name)), tell_audit])
    make_ready(audit)
    return audit
