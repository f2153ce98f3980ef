"""The user's functions: found in the module or file that a pipeline names, imported when first needed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.config.problems import short, suggest
from airflow_provider_pipetrack.errors import PipetrackError


class FunctionError(PipetrackError):
    """A function, or the module it should be in, cannot be found or imported."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        self.message = message
        self.suggestion = suggestion
        super().__init__(f"{message} (did you mean {suggestion!r}?)" if suggestion else message)


class UserFunctions:
    """The functions that a pipeline may name.

    :param module: a dotted module, or the path of a ``.py`` file beside or below the pipeline file; empty for none.
    :param folder: the folder of the pipeline file.
    """

    def __init__(self, module: str = "", folder: Path | None = None) -> None:
        self.module = module
        self.folder = folder
        self._loaded: types.ModuleType | None = None

    def get(self, name: str) -> Callable[..., Any] | None:
        """Return the function called ``name``, or None.

        :raises FunctionError: when the module cannot be imported.
        """
        found = getattr(self.load(), name, None) if self.module and not name.startswith("_") else None
        return found if callable(found) else None

    def names(self) -> list[str]:
        """Return the names of all functions."""
        if not self.module:
            return []
        return sorted(name for name, value in vars(self.load()).items() if callable(value) and not name.startswith("_"))

    def resolve_callable(self, text: str | Callable[..., Any]) -> Callable[..., Any]:
        """Return the function that ``text`` means: a name of the module, or a dotted path.

        :raises FunctionError: when there is none.
        """
        if callable(text):
            return text
        if "." in text:
            return _by_path(text)
        found = self.get(text)
        if found is not None:
            return found
        if not self.module:
            raise FunctionError(f"{text!r} is no dotted path, and the file names no user_functions")
        raise FunctionError(f"there is no function {text!r} in user_functions", suggest(text, self.names()))

    def file(self) -> Path | None:
        """Return the ``.py`` file that is named, or None for a module."""
        if not self.module.endswith(".py"):
            return None
        return (self.folder or Path()) / self.module

    def reference(self) -> str:
        """Return the module's name, or the file's whole path, by which another process finds the same functions."""
        path = self.file()
        return str(path.absolute()) if path else self.module

    def load(self) -> types.ModuleType:
        """Import the module.

        :raises FunctionError: when it cannot be imported; the text says why.
        """
        if self._loaded is None:
            path = self.file()
            try:
                self._loaded = _load_file(path) if path else importlib.import_module(self.module)
            except FunctionError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001  it is the user's module
                text = f"{type(error).__name__}: {error}"
                meant = "" if path else self._file_of_this_name()
                raise FunctionError(f"{short(self.module)} cannot be imported: {text}", meant) from None
        return self._loaded

    def _file_of_this_name(self) -> str:
        """Return the name of the file beside the pipeline that was probably meant instead of a module, or nothing."""
        beside = (self.folder or Path()) / f"{self.module}.py"
        try:
            return beside.name if beside.is_file() else ""
        except OSError:  # of a whole text that stands in the wrong place, which is too long for a name
            return ""


def awaited_by_nobody(function: Any) -> str:
    """Return why a function cannot be one that is only called, and what to do."""
    name = getattr(function, "__name__", None) or repr(function)
    return f"{name} is an async function, which nobody awaits here; write a plain one, which may call asyncio.run(…)"


def call_plain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what a user's function returns.

    :raises FunctionError: when it has done nothing yet, since it is async.
    """
    return done(function(*args, **kwargs), function)


def done(made: Any, function: Any) -> Any:
    """Return what a function has made.

    :raises FunctionError: when that has still to be awaited, so that nothing is done yet.
    """
    if not inspect.iscoroutine(made):
        return made
    made.close()
    raise FunctionError(awaited_by_nobody(function))


def parameters_of(function: Callable[..., Any]) -> list[str] | None:
    """Return the names that a function can be given, or None when it takes any, or does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _load_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise FunctionError(f"there is no file {path.name!r} beside the pipeline file (looked for {path})")
    status = path.stat()
    key = f"{path.resolve()}\0{status.st_mtime_ns}\0{status.st_size}"
    # Two pipelines may both have a functions.py; the name keeps them apart, and changes with the file's content.
    name = f"pipetrack_user_functions_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FunctionError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _by_path(text: str) -> Callable[..., Any]:
    module_name, _, name = text.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  it is the user's module
        raise FunctionError(f"{module_name!r} cannot be imported: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise FunctionError(f"there is no function {name!r} in {module_name}", suggest(name, known))
    return found  # type: ignore[no-any-return]
