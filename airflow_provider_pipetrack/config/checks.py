"""What a model cannot check by itself: names, references, functions, contents and locations of a whole file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.config.content import mistakes, plain_text
from airflow_provider_pipetrack.config.defaults import default_name, merge_defaults
from airflow_provider_pipetrack.config.durations import CONTINUOUS
from airflow_provider_pipetrack.config.functions import (
    FunctionError,
    UserFunctions,
    awaited_by_nobody,
    parameters_of,
)
from airflow_provider_pipetrack.config.problems import Path as KeyPath
from airflow_provider_pipetrack.config.problems import short, suggest
from airflow_provider_pipetrack.config.reader import Document
from airflow_provider_pipetrack.config.transfer import StageTransfer
from airflow_provider_pipetrack.config.types import LiteralText
from airflow_provider_pipetrack.errors import LocationError, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel

CONTENT_FIELDS = (
    "stage_i_details",
    "stage_i_unique_identifier",
    "stage_i_plus_1_details",
    "stage_i_plus_1_unique_identifier",
    "transfer_unique_id",
)
#: Task id of the task that ends a run, and the endings of the task ids that pipetrack adds.
RESERVED_NAME = "pipeline_done"
AUDIT_SUFFIX = "__audit"
TURN_SUFFIX = "__turn"
_SUFFIXES = (AUDIT_SUFFIX, TURN_SUFFIX)
_ADAPTER_METHODS = ("write_tracking_record", "read_tracking_records", "update_tracking_record")
_FUNCTION_FIELDS = ("python_callable", "rollback", "counts")
_MAPPED_REFERENCE = re.compile(r"transfer\.(.+)")

Row = Mapping[str, Any]
#: Keys below the transfer, what is wrong there, and what was probably meant.
Mistake = tuple[tuple[str, ...], str, str]


class Checker:
    """Finds the mistakes of one file and keeps their places.

    :param document: the file as it was read.
    :param model: the model of the whole file.
    :param folder: the file's folder.
    """

    def __init__(self, document: Document, model: type[BaseModel], folder: Path | None) -> None:
        self.document = document
        self.model = model
        self.folder = folder
        self.problems: list[Problem] = list(document.problems)
        self._seen: set[tuple[int, int, str]] = set()
        self._unread = {(problem.line, problem.column) for problem in document.problems}
        self._functions_broken = False

    def add(self, path: KeyPath, message: str, suggestion: str = "", *, key: bool = False) -> None:
        """Add a problem; the same one only once."""
        self._add(self.document.problem(path, message, suggestion, key=key), key=key)

    def take(self, problems: Iterable[Problem]) -> None:
        """Add what other rooms have found, as far as it is not known already."""
        for problem in problems:
            self._add(problem)

    def _add(self, problem: Problem, *, key: bool = False) -> None:
        place = (problem.line, problem.column, problem.message)
        # A value that could not even be read has been named.
        if place not in self._seen and (key or place[:2] not in self._unread):
            self._seen.add(place)
            self.problems.append(problem)

    def prepare(self) -> Any:
        """Return the file's data with defaults merged, and every transfer with its name and owner."""
        data = self.document.data
        if not isinstance(data, dict) or not isinstance(data.get("stage_transfers"), list):
            return data
        defaults = self._defaults(data.get("defaults"))
        rows = [merge_defaults(defaults, row) if isinstance(row, dict) else row for row in data["stage_transfers"]]
        owner = _default_owner(data)
        for row in rows:
            if owner and isinstance(row, dict) and row.get("transfer_process_owner_name", "") == "":
                row["transfer_process_owner_name"] = owner
            # Not `not`: YAML reads `name: off` as false, and that is a mistake to be named.
            if isinstance(row, dict) and row.get("name") in (None, ""):
                row["name"] = _computed_name(row)
        return {**data, "stage_transfers": rows}

    def check(self, data: Mapping[str, Any]) -> None:
        """Check everything that spans more than one value."""
        rows = data.get("stage_transfers")
        if not isinstance(rows, list):
            return
        if not rows:
            self.add(("stage_transfers",), "there is no transfer in it")
        known = [(index, row) for index, row in enumerate(rows) if isinstance(row, dict)]
        functions = self._functions(data)
        self._check_names(known)
        self._check_references(known)
        self._check_unique_ids(known)
        self._check_adapters(data, functions)
        self._check_locations(known, data, functions)
        variables = data.get("variables")
        for index, row in known:
            self._check_content(index, row, variables if isinstance(variables, dict) else {}, functions)
            self._check_functions(index, row, functions)

    def _defaults(self, defaults: Any) -> dict[str, Any]:
        if not isinstance(defaults, dict):
            return {}
        for key in defaults:
            if key not in StageTransfer.model_fields:
                suggestion = suggest(key, StageTransfer.model_fields)
                self.add(("defaults", key), "there is no such key", suggestion, key=True)
        return {key: value for key, value in defaults.items() if key in StageTransfer.model_fields}

    def _functions(self, data: Mapping[str, Any]) -> UserFunctions:
        module = data.get("user_functions")
        functions = UserFunctions(module if isinstance(module, str) else "", self.folder)
        if functions.module:
            try:
                functions.load()
            except FunctionError as error:
                self._functions_broken = True
                self.add(("user_functions",), error.message, error.suggestion)
        return functions

    def _check_names(self, rows: Iterable[tuple[int, Row]]) -> None:
        taken: dict[str, int] = {}
        mapped = {str(row["name"]) for _, row in rows if row.get("expand")}
        names = {str(row["name"]): row["name"] for _, row in rows}
        for index, row in rows:
            name, path = str(row["name"]), ("stage_transfers", index, "name")
            if name in taken:
                line = self.document.position(("stage_transfers", taken[name]))[0]
                self.add(
                    path, f"the name {name!r} is already that of the transfer in line {line}; give one of them a name"
                )
            taken.setdefault(name, index)
            owner = _owner(name, names) if name.endswith(_SUFFIXES) else None
            stem, _, digits = name.rpartition("_") if mapped else ("", "", "")
            if name == RESERVED_NAME:
                self.add(path, f"the name {name!r} is reserved for the task that ends a run")
            elif owner is not None:
                self.add(path, f"the name {name!r} is that of a task that pipetrack adds to transfer {owner!r}")
            elif digits.isdigit() and stem in mapped:
                self.add(path, f"the name {name!r} could mean map index {digits} of transfer {stem!r}; choose another")

    def _check_references(self, rows: Iterable[tuple[int, Row]]) -> None:
        names = {str(row["name"]): row for _, row in rows}
        for index, row in rows:
            if "depends_on" in row or "expand" in row:
                self._check_named(index, row, names)
                self._check_expand(index, row)
            self._check_what_runs(index, row)

    def _check_named(self, index: int, row: Row, names: Mapping[str, Row]) -> None:
        for place, wanted in self._references(row):
            path = ("stage_transfers", index, *place)
            if wanted == row["name"]:
                self.add(path, "a transfer cannot wait for itself")
            elif wanted not in names:
                others = [name for name in names if name != row["name"]]
                self.add(path, f"there is no transfer {wanted!r}", suggest(wanted, others))
            elif place[0] == "expand":
                self._check_mapped_over(path, wanted, names[wanted])

    def _check_mapped_over(self, path: KeyPath, wanted: str, row: Row) -> None:
        if row.get("transfer_enabled") is False:
            self.add(path, f"transfer {wanted!r} is disabled, so there is nothing to map over")
        elif str(row.get("estimated_duration")).strip().lower() == CONTINUOUS:
            self.add(
                path, f"transfer {wanted!r} never ends (estimated_duration: continuous), so nothing is mapped over"
            )
        elif not self._runs_something(row):
            self.add(path, f"transfer {wanted!r} runs nothing, so it returns nothing to map over")

    def _check_what_runs(self, index: int, row: Row) -> None:
        if row.get("operator") and row.get("python_callable"):
            self.add(("stage_transfers", index, "python_callable"), "give operator or python_callable, not both")
        arguments, path = row.get("operator_args"), ("stage_transfers", index, "operator_args")
        # Under ``defaults`` they are for those transfers that run something.
        if arguments and isinstance(arguments, dict) and not self._runs_something(row) and self.document.has(path):
            self.add(path, "there is no operator and no python_callable that takes them", key=True)

    @staticmethod
    def _runs_something(row: Row) -> bool:
        return bool(row.get("operator") or row.get("python_callable"))

    def _references(self, row: Row) -> Iterable[tuple[KeyPath, str]]:
        waits = row.get("depends_on")
        if isinstance(waits, list):
            yield from (
                (("depends_on", place), wanted) for place, wanted in enumerate(waits) if isinstance(wanted, str)
            )
        expand = row.get("expand")
        for key, value in expand.items() if isinstance(expand, dict) else ():
            name = mapped_reference(value)
            if name is not None:
                yield ("expand", key), name

    def _check_expand(self, index: int, row: Row) -> None:
        expand = row.get("expand")
        if not isinstance(expand, dict):
            return
        for key, value in expand.items():
            if isinstance(value, str) and mapped_reference(value) is None:
                path = ("stage_transfers", index, "expand", key)
                self.add(path, f"expected a list, or transfer.<name>, not {short(value)}")
        references = [value for value in expand.values() if isinstance(value, str)]
        if row.get("python_callable") and references and len(expand) > 1 and not {*expand} <= {"op_kwargs", "op_args"}:
            message = "a function can be mapped over one transfer's result or over lists, not over both"
            self.add(("stage_transfers", index, "expand"), message, key=True)
        if not self._runs_something(row):
            self.add(
                ("stage_transfers", index, "expand"), "there is no operator and no python_callable to map", key=True
            )

    def _check_unique_ids(self, rows: Iterable[tuple[int, Row]]) -> None:
        taken: dict[str, int] = {}
        for index, row in rows:
            written = row.get("transfer_unique_id")
            value = _content(written) if written else None
            if not value:
                continue
            if value in taken:
                line = self.document.position(("stage_transfers", taken[value], "transfer_unique_id"))[0]
                path = ("stage_transfers", index, "transfer_unique_id")
                self.add(path, f"the id {value!r} is already that of the transfer in line {line}")
            taken.setdefault(value, index)

    def _check_adapters(self, data: Row, functions: UserFunctions) -> None:
        """Check the classes of the user's own storages, and the types that connections are named for."""
        adapters = data.get("storage_adapters")
        adapters = adapters if isinstance(adapters, dict) else {}
        for kind, path in adapters.items():
            if not isinstance(path, str) or "." not in path:
                continue
            try:
                found = functions.resolve_callable(path)
            except FunctionError as error:
                self.add(("storage_adapters", kind), error.message, error.suggestion)
                continue
            lacking = [name for name in _ADAPTER_METHODS if isinstance(found, type) and not hasattr(found, name)]
            if lacking:
                self.add(("storage_adapters", kind), f"{path} lacks {', '.join(lacking)}")
        tracking = data.get("tracking")
        connections = tracking.get("connections") if isinstance(tracking, dict) else None
        if not isinstance(connections, dict) or not connections:
            return
        from airflow_provider_pipetrack.storage.locations import FORMS
        from airflow_provider_pipetrack.storage.registry import types_of

        known = {*FORMS, *types_of(connections, self._own_storages(adapters, functions))}
        for kind in connections:
            if kind not in known:
                self.add(
                    ("tracking", "connections", kind),
                    f"there is no storage type {kind!r}",
                    suggest(kind, known),
                    key=True,
                )

    def _own_storages(self, adapters: Row, functions: UserFunctions) -> Row:
        """Return the user's own storages: classes by type, and whether functions serve every other type."""
        from airflow_provider_pipetrack.storage.own_functions import FUNCTIONS

        writes = {FUNCTIONS: True} if not self._functions_broken and functions.get("tracking_storage_write") else {}
        return {**adapters, **writes}

    def _check_locations(
        self, rows: Sequence[tuple[int, Row]], data: Mapping[str, Any], functions: UserFunctions
    ) -> None:
        lists = (row.get("tracking_location") for _, row in rows)
        texts = [text for found in lists if isinstance(found, list) for text in found if isinstance(text, str)]
        if not texts:
            return
        from airflow_provider_pipetrack.storage.locations import parse_location_string
        from airflow_provider_pipetrack.storage.registry import types_of

        adapters = data.get("storage_adapters")
        custom = types_of(texts, self._own_storages(adapters if isinstance(adapters, dict) else {}, functions))
        verdicts: dict[str, str | None] = {}
        for index, row in rows:
            locations = row.get("tracking_location")
            for place, text in enumerate(locations if isinstance(locations, list) else ()):
                if not isinstance(text, str):
                    continue
                if text not in verdicts:
                    try:
                        parse_location_string(text, custom)
                        verdicts[text] = None
                    except LocationError as error:
                        verdicts[text] = f"{error.location!r}: {error.message}"
                if verdict := verdicts[text]:
                    self.add(("stage_transfers", index, "tracking_location", place), verdict)

    def _check_content(self, index: int, row: Row, variables: Row, functions: UserFunctions) -> None:
        if self._functions_broken:
            return
        for field in CONTENT_FIELDS:
            value = row.get(field)
            # Most texts are plain words; only these characters can make a text anything else.
            if not isinstance(value, str) or not ("(" in value or "{" in value):
                continue
            found = mistakes(value, variables=variables, functions=functions, has_module=bool(functions.module))
            if found:
                self.add(("stage_transfers", index, field), *found)

    def _check_functions(self, index: int, row: Row, functions: UserFunctions) -> None:
        named: list[tuple[KeyPath, Any]] = [((field,), row[field]) for field in _FUNCTION_FIELDS if field in row]
        if isinstance(row.get("audit"), dict):
            named.append((("audit", "function"), row["audit"].get("function")))
        if row.get("operator") and isinstance(row.get("operator_args"), dict):
            named.append((("operator_args", "python_callable"), row["operator_args"].get("python_callable")))
        for path, text in named:
            if not isinstance(text, str) or not text or (self._functions_broken and "." not in text):
                continue
            try:
                function = functions.resolve_callable(text)
            except FunctionError as error:
                self.add(("stage_transfers", index, *path), error.message, error.suggestion)
                continue
            if path == ("python_callable",):
                self._check_arguments(index, row, function)
            elif path[-1] != "python_callable" and inspect.iscoroutinefunction(function):
                self.add(("stage_transfers", index, *path), awaited_by_nobody(function))

    def _check_arguments(self, index: int, row: Row, function: Callable[..., Any]) -> None:
        """Name arguments that a function does not take: Airflow leaves them out without a word."""
        taken = parameters_of(function)
        if taken is None:
            return
        for key in ("operator_args", "expand"):
            for name in row[key] if isinstance(row.get(key), dict) else ():
                path = ("stage_transfers", index, key, name)
                # Under ``defaults`` they are for those functions that take them.
                if name not in (*taken, "op_args", "op_kwargs") and self.document.has(path):
                    message = f"{row['python_callable']} has no parameter {name!r}"
                    self.add(path, message, suggest(name, taken), key=True)


def mapped_reference(value: Any) -> str | None:
    """Return the name of the transfer whose result an entry of ``expand`` means, or None."""
    match = _MAPPED_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match.group(1) if match else None


def _owner(name: str, names: Mapping[str, Any]) -> Any:
    """Return the name of the transfer whose audit or turn would be called ``name``, or None."""
    stems = (name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix))
    return next((names[stem] for stem in stems if stem in names), None)


def _default_owner(data: Mapping[str, Any]) -> str | None:
    """Return the owner of the tasks that name none, whom their records name, too."""
    settings = data.get("dag")
    arguments = settings.get("default_args") if isinstance(settings, dict) else None
    owner = arguments.get("owner") if isinstance(arguments, dict) else None
    return owner if isinstance(owner, str) else None


def _computed_name(row: Row) -> str:
    source, target = _content(row.get("stage_i_details")), _content(row.get("stage_i_plus_1_details"))
    return default_name(source, target, row.get("transfer_order_number", 1.0))


def _content(value: Any) -> str | None:
    """Return a content's plain text from what the file says, or None."""
    if isinstance(value, dict) and isinstance(value.get("literal"), str) and len(value) == 1:
        return LiteralText(literal=value["literal"]).literal
    if not isinstance(value, str):
        return None
    if "(" not in value and "{" not in value:
        return value
    try:
        return plain_text(value)
    except Exception:  # noqa: BLE001  a broken f-string is reported as a mistake of its own
        return None
