"""Keys that are read and checked, but that nothing acts upon in this version; their users must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config.pipeline import PipelineConfig


def unheeded(config: PipelineConfig) -> list[str]:
    """Return a sentence for each key of a pipeline that this version does not act upon."""
    transfers = config.stage_transfers
    used = {
        "can_access_historical_data: false": any(not transfer.can_access_historical_data for transfer in transfers),
        "dag.deadline": config.dag.deadline is not None,
        "on_schema_change: fail": config.on_schema_change == "fail",
    }
    return [f"{key} is recorded, but not acted upon in this version" for key, is_used in used.items() if is_used]
