"""Names to things: the only module that knows where probes, suites, adapters and datasets live.

What is built in is a file of a folder, and its name is the file's; what others add comes in by entry points
(`lidiag.probes`, `lidiag.adapters`, `lidiag.datasets`) and is called in the same way.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from lidiag import suite as suites_on_file
from lidiag.errors import LidiagError, unknown
from lidiag.files import expanded
from lidiag.suite import Suite

if TYPE_CHECKING:
    from lidiag.adapter import Adapter, LoadOptions
    from lidiag.dataset import DataOptions, Dataset
    from lidiag.probe import Probe

_PACKAGE = Path(__file__).parent
_PLACEHOLDERS = frozenset({"NAME", "TASK"})  # what a listing writes for any name
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAME = re.compile(r"(?:(?P<kind>[A-Za-z][A-Za-z0-9_-]*):)?(?P<name>[^?@]*)(?:@(?P<revision>[^?@]+))?(?:\?(?P<parameters>.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Name:
    """A name taken apart: `[kind:]name[@revision][?key=value&...]`."""

    kind: str | None
    name: str
    revision: str | None
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Name:
        """Take a name apart; an existing path wins over every other reading.

        Raises:
            LidiagError: the parameters are not of the form key=value, or one stands twice.
        """
        path, _, tail = text.partition("?")
        if path and expanded(path).exists():
            return cls(None, path, None, _parameters(text, tail))
        match = _NAME.fullmatch(text)
        if match is None or not match["name"]:
            raise LidiagError(f"{text!r} is not a name.", "The form is [kind:]name[@revision][?key=value&...].")
        kind, bare = match["kind"], match["name"]
        if kind == "https" and bare.startswith("//"):  # an address is a name of the adapter http, whichever way it is spelled
            kind, bare = "http", f"https:{bare}"
        return cls(kind, bare, match["revision"], _parameters(text, match["parameters"] or ""))


def _parameters(text: str, tail: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(tail, keep_blank_values=True, strict_parsing=bool(tail), max_num_fields=50)
    except ValueError as error:
        raise LidiagError(f"The part after ? in {text!r} is not key=value&key=value: {error}.", "Mend it.") from error
    keys = [key for key, _ in pairs]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise LidiagError(f"{twice!r} stands twice in {text!r}.", "Give it once.")
    return dict(pairs)


def probe_names() -> list[str]:
    """Return the names of all probes."""
    return sorted({*_files("probes", ".py"), *_plugins("lidiag.probes")})


def probe_class(name: str) -> type[Probe]:
    """Return a probe's class by its name.

    Raises:
        LidiagError: there is none, with the nearest names.
    """
    if name in _files("probes", ".py"):
        module = importlib.import_module(f"lidiag.probes.{name.replace('-', '_')}")
        return getattr(module, "".join(word.capitalize() for word in name.split("-")))
    if name in _plugins("lidiag.probes"):
        return _plugins("lidiag.probes")[name].load()
    raise unknown("probe", name, probe_names(), "`lidiag list probes`")


def probe(name: str, parameters: dict[str, Any]) -> Probe:
    """Return a probe with the given parameters, lists made tuples.

    Raises:
        LidiagError: the probe has no such parameter, or does not take the value.
    """
    kind = probe_class(name)
    known = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType] - a probe is a dataclass
    for key in parameters:
        if key not in known:
            raise unknown(f"parameter of {name}", key, known, f"`lidiag describe probe {name}`")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    return kind(**values)


def suite_names() -> list[str]:
    """Return the names of the suites that ship with lidiag."""
    return _files("suites", ".toml")


def suite(name: str) -> Suite:
    """Return a suite by its name, or from its TOML file.

    Raises:
        LidiagError: there is none, or the file is not valid.
    """
    path = expanded(name)
    if path.suffix == ".toml" and path.exists():
        return suites_on_file.read(path)
    if name not in suite_names():
        raise unknown("suite", name, suite_names(), "`lidiag list suites`, or name a TOML file")
    return suites_on_file.read(_folder("suites") / f"{name}.toml")


def model_names() -> list[str]:
    """Return the models that need no download, and the adapters that take a name."""
    return sorted(f"{_dashed(kind)}:{name}" for kind in _adapter_kinds() for name in _listed(_adapter(kind)) or ["NAME"])


def model(text: str, options: LoadOptions) -> Adapter:
    """Load a model: `[adapter:]name[@revision][?key=value&...]`, a folder, or an id on the hub.

    Without a prefix the checkpoint's files decide, never its name.

    Raises:
        LidiagError: the name is unknown, no adapter recognises the checkpoint, or several do.
    """
    name = Name.parse(text)
    options = dataclasses.replace(options, revision=name.revision or options.revision, parameters=name.parameters)
    if name.kind is not None:
        kind = name.kind.replace("-", "_")
        if kind not in _adapter_kinds():
            raise unknown("adapter", name.kind, map(_dashed, _adapter_kinds()), "`lidiag list models`")
        return _adapter(kind).load(name.name, options)
    kind, reason = _recognise(name, options)
    return _adapter(kind).load(name.name, dataclasses.replace(options, reason=reason))


def _recognise(name: Name, options: LoadOptions) -> tuple[str, str]:
    from lidiag import checkpoint  # noqa: PLC0415 - the hub's client is needed for models only

    folder = expanded(name.name)
    if not folder.exists():
        folder = checkpoint.snapshot(name.name, options, weights=False)
    claims = {kind: claim for kind in _adapter_kinds() if (claim := _claim(_adapter(kind), folder))}
    if len(claims) == 1:
        return next(iter(claims.items()))
    if not claims:
        raise LidiagError(
            f"Nothing in the files of {name.name} says that it is a late-interaction model.",
            "Say how to read it with a prefix: colpali:, sentence-transformers:, or smart: for a single-vector model.",
        )
    both = "; ".join(f"{_dashed(kind)}: because {reason}" for kind, reason in claims.items())
    raise LidiagError(f"Several adapters recognise {name.name} ({both}).", "Say which with a prefix.")


def dataset_names() -> list[str]:
    """Return the collections that need no download, and the kinds that take a name."""
    return sorted(f"{_dashed(kind)}:{name}" for kind in _dataset_kinds() for name in _listed(_dataset(kind)) or ["NAME"])


def dataset(text: str, options: DataOptions) -> Dataset:
    """Load a collection: `[kind:]name[?key=value&...]`, or a folder.

    Raises:
        LidiagError: there is none of that name, or it is not valid.
    """
    name, kind = _dataset_kind(text)
    options = dataclasses.replace(options, parameters=name.parameters, revision=name.revision)
    return _dataset(kind).load(name.name, options)


def members(text: str) -> list[str]:
    """Return the names of the collections that a name stands for: those of a benchmark, else the name itself. Needs no data.

    Raises:
        LidiagError: there is none of that name.
    """
    from lidiag.dataset import DataOptions  # noqa: PLC0415 - `lidiag --help` needs no collections

    name, kind = _dataset_kind(text)
    module = _dataset(kind)
    if not hasattr(module, "members"):
        return [text]
    return module.members(name.name, DataOptions(parameters=name.parameters, revision=name.revision))


def parts(text: str) -> list[Any] | None:
    """Return what a benchmark's name stands for, each with its place on the hub and its revision; None for other collections.

    Raises:
        LidiagError: there is none of that name.
    """
    from lidiag.dataset import DataOptions  # noqa: PLC0415 - as above

    name, kind = _dataset_kind(text)
    module = _dataset(kind)
    if not hasattr(module, "parts"):
        return None
    return module.parts(name.name, DataOptions(parameters=name.parameters, revision=name.revision))


def _dataset_kind(text: str) -> tuple[Name, str]:
    """Take a collection's name apart, and say which kind it is: the one named, `beir` for a folder, or the one that lists it."""
    name = Name.parse(text)
    if name.kind is not None:
        kind = name.kind.replace("-", "_")
        if kind not in _dataset_kinds():
            raise unknown("kind of dataset", name.kind, map(_dashed, _dataset_kinds()), "`lidiag list datasets`")
        return name, kind
    if expanded(name.name).exists():
        return name, "beir"
    listing = [kind for kind in _dataset_kinds() if name.name in _listed(_dataset(kind)) and name.name not in _PLACEHOLDERS]
    if len(listing) != 1 and _HUB_NAME.fullmatch(name.name):
        raise LidiagError(
            f"There is no folder {name.name}.",
            f"Name one that there is, or hf:{name.name} for a collection of the hub, or see `lidiag list datasets`.",
        )
    if len(listing) != 1:
        raise unknown("dataset", text, dataset_names(), "`lidiag list datasets`, or name a folder in the BEIR layout")
    return name, listing[0]


def _folder(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def _files(folder: str, suffix: str) -> list[str]:
    paths = _folder(folder).glob(f"[!_]*{suffix}")
    return sorted(path.stem.replace("_", "-") for path in paths)


def _plugins(group: str) -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=group)}


def _adapter_kinds() -> list[str]:
    return sorted({path.stem for path in (_PACKAGE / "adapters").glob("[!_]*.py")} | _plugins("lidiag.adapters").keys())


def _adapter(kind: str) -> ModuleType:
    return _module("adapters", kind)


def _dataset_kinds() -> list[str]:
    # Beside the kinds lie the files that they share; read, not imported, which would load what no one asked for.
    files = [path for path in (_PACKAGE / "datasets").glob("[!_]*.py") if "\ndef load(" in path.read_text(encoding="utf-8")]
    return sorted({path.stem for path in files} | _plugins("lidiag.datasets").keys())


def _dataset(kind: str) -> ModuleType:
    return _module("datasets", kind)


def _module(group: str, kind: str) -> ModuleType:
    if (_PACKAGE / group / f"{kind}.py").exists():
        return importlib.import_module(f"lidiag.{group}.{kind}")
    return _plugins(f"lidiag.{group}")[kind].load()


def _listed(module: ModuleType) -> list[str]:
    return module.names() if hasattr(module, "names") else []


def _claim(module: ModuleType, folder: Path) -> str | None:
    return module.claims(folder) if hasattr(module, "claims") else None


def _dashed(kind: str) -> str:
    return kind.replace("_", "-")
