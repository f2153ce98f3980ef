"""``.airflowignore``: files that Airflow, and so pipetrack, leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_pipetrack.compat import airflow_option

FILE = ".airflowignore"


class Ignored:
    """The patterns of the ``.airflowignore`` files in a folder and below.

    :param root: the folder where the search begins.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._glob = (airflow_option("core", "dag_ignore_file_syntax") or "glob").lower() == "glob"
        self._rules: list[tuple[Path, object]] = []

    def enter(self, folder: Path) -> None:
        """Read the patterns of a folder."""
        try:
            lines = (folder / FILE).read_text("utf-8-sig", "replace").splitlines()
        except OSError:
            return
        lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if self._glob:
            import pathspec

            self._rules.append((folder, pathspec.GitIgnoreSpec.from_lines(filter(_is_glob, lines))))
        else:
            self._rules.extend((folder, pattern) for line in lines if (pattern := _pattern(line)) is not None)

    def matches(self, path: Path, *, folder: bool = False) -> bool:
        """Return whether a file or folder is to be left alone."""
        for base, rule in self._rules:
            if not path.is_relative_to(base):
                continue
            relative = path.relative_to(base).as_posix()
            if isinstance(rule, re.Pattern):
                if rule.search(relative):
                    return True
            elif rule.match_file(f"{relative}/" if folder else relative):  # type: ignore[attr-defined]
                return True
        return False


def _is_glob(line: str) -> bool:
    import pathspec

    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _pattern(line: str) -> re.Pattern[str] | None:
    try:
        return re.compile(line.partition("#")[0].strip())
    except re.error:
        return None
