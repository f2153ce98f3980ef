"""Which task says, as an Airflow asset, that a stage has its data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
from airflow_provider_pipetrack.config.content import plain_text
from airflow_provider_pipetrack.config.transfer import NO_ASSET

#: Longest URI of an asset that Airflow takes.
_LONGEST = 1500
#: What may stand in a stage's text and in the path of a URI.
_READABLE = "|/ :@,+=()~"


@dataclass(frozen=True)
class StageAsset:
    """The asset of a transfer's target stage.

    :param uri: its URI.
    :param is_declared: whether the task declares it as an outlet, so that Airflow knows it before the first event.
    """

    uri: str
    is_declared: bool


def assets_of(config: PipelineConfig) -> dict[str, StageAsset]:
    """Return the asset of each transfer that has one, by the transfer's name.

    A transfer's own ``asset`` counts. Else the target stage is the asset, when its text is literal and no other
    transfer fills it too. A mapped or continuous transfer without an audit has no single end, and so no asset.

    Declared are those that the file names or audits, and those with which the data leaves the pipeline. Of the others,
    a task speaks only when it has succeeded: every outlet is part of the serialized Dag, and one for each transfer
    would double that.
    """
    enabled = [transfer for transfer in config.stage_transfers if transfer.transfer_enabled]
    targets = [_literal(transfer.stage_i_plus_1_details) for transfer in enabled]
    filled = Counter(targets)
    read = {_literal(transfer.stage_i_details) for transfer in enabled}
    found = {}
    for transfer, stage in zip(enabled, targets, strict=True):
        is_stage = filled[stage] == 1 and bool(stage.strip())
        uri = _asset(config.dag_id, transfer, stage) if is_stage or transfer.asset else None
        if uri is not None:
            is_inner = stage in read and not (transfer.audit_enabled or transfer.asset)
            found[transfer.name] = StageAsset(uri, is_declared=not is_inner)
    return found


def asset_mistake(transfer: StageTransfer) -> str | None:
    """Return what is wrong with the asset that a transfer names, or None."""
    if not transfer.asset or transfer.asset == NO_ASSET:
        return None
    if not transfer.audit_enabled and not _ends_once(transfer):
        kind = "mapped" if transfer.expand else "continuous"
        return f"a {kind} transfer without an audit has no single end to say that the asset is ready"
    from airflow.sdk import Asset

    try:
        Asset(transfer.asset)
    except ValueError as error:
        return f"{transfer.asset!r} is no asset for Airflow: {error}"
    return None


def stage_uri(dag_id: str, stage: str) -> str:
    """Return the URI of a stage's asset: ``pipetrack://<Dag id>/<stage>``."""
    return f"pipetrack://{quote(dag_id)}/{quote(stage, safe=_READABLE)}"


def _asset(dag_id: str, transfer: StageTransfer, stage: str) -> str | None:
    if transfer.asset == NO_ASSET or not (transfer.audit_enabled or _ends_once(transfer)):
        return None
    if transfer.asset:
        return transfer.asset
    uri = stage_uri(dag_id, stage)
    return uri if len(uri) <= _LONGEST else None


def _ends_once(transfer: StageTransfer) -> bool:
    return not transfer.expand and not transfer.is_continuous


def _literal(value: object) -> str:
    """Return a stage's text, or an empty one when it is computed."""
    if isinstance(value, str) and "(" not in value and "{" not in value:
        return value
    return plain_text(value) or ""  # type: ignore[arg-type]
