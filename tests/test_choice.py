from lidiag.card import ModelCard
from lidiag.choice import choose
from lidiag.suite import Step, Suite

BARE = Suite(name="bare", version=1, description="", steps=(Step(probe="retrieval"),))
OWN = BARE.model_copy(update={"name": "own", "data": ("builtin:facts", "./mine")})


def card(adapter, *modalities):
    return ModelCard(
        name="org/model", revision="0" * 40, adapter=adapter, reason="", family="", modalities=modalities, dim=8, dtype="float32"
    )


def test_what_the_command_names_is_measured_once_whatever_the_suites_say():
    assert choose(["a", "b", "a"], [OWN], card("colpali", "image")).names == ("a", "b")


def test_a_suites_own_collections_come_before_the_models_kind():
    assert choose([], [BARE, OWN], card("colpali", "image")) == choose([], [OWN], card("builtin", "text"))


def test_a_built_in_model_needs_no_download():
    chosen = choose([], [BARE], card("builtin", "text"))
    assert (chosen.names, chosen.why) == (("builtin:facts",), "")


def test_a_model_of_texts_gets_nanobeir_and_one_of_pages_vidore_and_it_is_said():
    text, pages = choose([], [BARE], card("sentence-transformers", "text")), choose([], [BARE], card("colpali", "text", "image"))
    assert (text.names, pages.names) == (("mteb:nanobeir",), ("mteb:vidore-v1",))
    assert "reads text, so it is measured on mteb:nanobeir" in text.why
    assert "reads page images" in pages.why
