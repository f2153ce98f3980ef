"""Keys that are read and checked, but that nothing acts upon in this version; their users must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config.pipeline import PipelineConfig


def unheeded(config: PipelineConfig) -> list[str]:
    """Return a sentence for each key of a pipeline that this version does not act upon."""
    used = {
        "on_schema_change: fail": config.on_schema_change == "fail",
    }
    return [f"{key} is recorded, but not acted upon in this version" for key, is_used in used.items() if is_used]
