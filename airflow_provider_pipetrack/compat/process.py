"""What Airflow has set up in this process: options, secrets to mask, metrics."""

from __future__ import annotations

import functools
import sys
from typing import Any


@functools.cache
def airflow_option(section: str, option: str) -> str | None:
    """Return an option of airflow.cfg as text, or None when it is not set; a process reads it once."""
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # 3.1
        from airflow.configuration import conf
    value = conf.get(section, option, fallback=None)
    return None if value is None else str(value)


def redact(text: str) -> str:
    """Return ``text`` with every secret that Airflow knows of masked."""
    import airflow.sdk.log as masking

    mask: Any = masking.redact  # type: ignore[attr-defined]
    return str(mask(text))


def airflow_stats() -> Any:
    """Return where this process sends its metrics (``incr``, ``timing``, ``gauge``), or None when it sends none.

    From 3.2 on there are two: the SDK's, which the task runner sets up, and the core's of Airflow's other processes.
    Which one it is shows in whether it was set up; to import one would not set it up.
    """
    for name in ("airflow.sdk._shared.observability.metrics.stats", "airflow._shared.observability.metrics.stats"):
        module = sys.modules.get(name)
        if getattr(module, "_factory", None) is not None:  # 3.3
            return module
        stats = getattr(module, "Stats", None)
        if stats is not None and vars(stats).get("factory") is not None:  # 3.2
            return stats
    module = sys.modules.get("airflow.stats")
    return module.Stats if hasattr(module, "conf") else None  # type: ignore[union-attr]  # 3.1 sets itself up
