import pytest

from lidiag import catalog
from lidiag.adapter import LoadOptions
from lidiag.catalog import Name
from lidiag.dataset import DataOptions
from lidiag.errors import LidiagError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("org/name", (None, "org/name", None, {})),
        ("org/name@abc", (None, "org/name", "abc", {})),
        ("colpali:org/name@abc?a=1&b=x", ("colpali", "org/name", "abc", {"a": "1", "b": "x"})),
        ("builtin:lexical?length_bias=0.3", ("builtin", "lexical", None, {"length_bias": "0.3"})),
        ("python:pkg.module:factory", ("python", "pkg.module:factory", None, {})),
        ("http:http://127.0.0.1:8000/pooling", ("http", "http://127.0.0.1:8000/pooling", None, {})),
        ("http:https://host/v1?model=m", ("http", "https://host/v1", None, {"model": "m"})),
        ("https://host/v1?model=m", ("http", "https://host/v1", None, {"model": "m"})),
    ],
)
def test_a_name_is_taken_apart(text, parts):
    name = Name.parse(text)
    assert (name.kind, name.name, name.revision, name.parameters) == parts


def test_an_existing_path_wins_over_every_other_reading(tmp_path):
    folder = tmp_path / "builtin:lexical@1"
    folder.mkdir()
    assert Name.parse(str(folder)) == Name(None, str(folder), None, {})
    assert Name.parse(f"{folder}?a=1").parameters == {"a": "1"}


@pytest.mark.parametrize("text", ["", "builtin:", "builtin:lexical?a", "builtin:lexical?a=1&a=2", "@rev", "?a=1"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(LidiagError):
        Name.parse(text)


@pytest.mark.parametrize(
    ("look_up", "near"),
    [
        (lambda: catalog.probe_class("retreival"), "retrieval"),
        (lambda: catalog.suite("robustnes"), "robustness"),
        (lambda: catalog.model("bultin:lexical", LoadOptions()), "builtin"),
        (lambda: catalog.model("builtin:lexicl", LoadOptions()), "lexical"),
        (lambda: catalog.dataset("bultin:facts", DataOptions()), "builtin"),
        (lambda: catalog.dataset("builtin:fact", DataOptions()), "facts"),
        (lambda: catalog.dataset("builtin-facts", DataOptions()), "builtin:facts"),
        (lambda: catalog.dataset("org/set", DataOptions()), "no folder org/set. .* hf:org/set for a collection of the hub"),
        (lambda: catalog.probe("retrieval", {"pooling": ["maxsim"]}), "poolings"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(look_up, near):
    with pytest.raises(LidiagError, match=near):
        look_up()


def test_an_unknown_pooling_in_a_suite_is_refused_before_anything_runs():
    with pytest.raises(LidiagError, match="maxsin"):
        catalog.probe("retrieval", {"poolings": ["maxsin"]})


@pytest.mark.parametrize("name", catalog.probe_names())
def test_every_probe_says_what_a_probe_says(name):
    kind = catalog.probe_class(name)
    assert kind.name == name
    assert kind.version >= 1
    assert kind.question.endswith("?")
    assert kind.primary in kind.formulas
    assert kind.__doc__
    assert kind() == kind()


@pytest.mark.parametrize("name", catalog.suite_names())
def test_every_suite_names_probes_and_parameters_that_exist_and_gates_on_its_own_probes(name):
    suite = catalog.suite(name)
    assert suite.name == name
    probes = {catalog.probe(step.probe, dict(step.parameters)).name for step in suite.steps}
    assert {gate.probe for gate in suite.gates} <= probes
    for gate in suite.gates:
        assert gate.name in catalog.probe_class(gate.probe).formulas
        assert len(gate.reason) > 20
