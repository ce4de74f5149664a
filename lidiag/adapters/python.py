"""`python:MODULE:FACTORY`: a model of one's own. `FACTORY(options)` takes `LoadOptions` and returns an `Adapter`.

A module in the working folder is found too. To be found by a name of its own, a package declares an entry point in the group
`lidiag.adapters`: a module with `load(name, options)`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from lidiag.adapter import Adapter, LoadOptions
from lidiag.card import ModelCard
from lidiag.errors import LidiagError, unknown

_METHODS = ("queries", "documents", "labels")


def load(name: str, options: LoadOptions) -> Adapter:
    """Import the module and call the factory; what its code raises comes through as it is.

    Raises:
        LidiagError: the name is not MODULE:FACTORY, there is no such module or factory, or what it returns is no adapter.
    """
    module_name, colon, factory_name = name.partition(":")
    if not colon or not module_name or not factory_name:
        raise LidiagError(f"python:{name} does not name a module and a factory.", "The form is python:MODULE:FACTORY.")
    module = _module(module_name)
    factory = getattr(module, factory_name, None)
    if factory is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"factory in {module_name}", factory_name, known, str(module.__file__))
    if not callable(factory):
        raise LidiagError(f"{name} is a {type(factory).__name__}, not a function.", "Name a function that takes LoadOptions.")
    return _checked(factory(options), name)


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        # Last, so that a file here hides no installed module.
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise LidiagError(f"There is no module {name}.", f"Install it, or put it into {here}.") from error
        raise LidiagError(f"{name} needs the module {error.name}, which is not installed.", "Install it.") from error


def _checked(made: object, name: str) -> Adapter:
    missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
    if not isinstance(getattr(made, "card", None), ModelCard):
        missing.insert(0, "card (a ModelCard)")
    if missing:
        raise LidiagError(
            f"{name} returned a {type(made).__name__}, which is no adapter: it lacks {', '.join(missing)}.", "See lidiag.adapter.Adapter."
        )
    return made  # pyright: ignore[reportReturnType] - checked above, by structure
