from __future__ import annotations

import pytest

from lidiag.adapter import LoadOptions
from lidiag.adapters import python
from lidiag.errors import LidiagError

MODULE = """
from lidiag.adapters.builtin import load
number = 3
def make(options): return load("lexical", options)
def make_nothing(options): return object()
def fail(options): raise RuntimeError("its own fault")
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import not_installed_anywhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    monkeypatch.delitem(__import__("sys").modules, "my_models", raising=False)


def test_a_factory_in_the_working_folder_makes_the_model():
    model = python.load("my_models:make", LoadOptions(parameters={"dim": "16"}))
    assert model.card.dim == 16
    assert len(model.queries(["wing"])) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_models", "does not name a module and a factory"),
        (":make", "does not name a module and a factory"),
        ("no_such_module:make", "There is no module no_such_module"),
        ("my_models.inner:make", "no module my_models.inner"),
        ("my_broken:make", "my_broken needs the module not_installed_anywhere"),
        ("my_models:mak", "Did you mean make"),
        ("my_models:number", "is a int, not a function"),
        ("my_models:make_nothing", r"returned a object, which is no adapter: it lacks card \(a ModelCard\), queries, documents, labels"),
    ],
)
def test_what_makes_no_model_is_refused_with_the_cause(name, said):
    with pytest.raises(LidiagError, match=said):
        python.load(name, LoadOptions())


def test_a_fault_of_the_factorys_own_comes_through():
    with pytest.raises(RuntimeError, match="its own fault"):
        python.load("my_models:fail", LoadOptions())
