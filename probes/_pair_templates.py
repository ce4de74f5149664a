"""Pairs of sentences where one word decides which of them answers a query, made from templates of the project's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

NAMES = (
    "Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Lukas", "Maria", "Niels", "Olga", "Peter",
    "Rosa", "Simon", "Tanja", "Viktor",
)  # fmt: skip
PLACES = ("Bergen", "Cadiz", "Dresden", "Genoa", "Lyon", "Porto", "Riga", "Split", "Turku", "Verona")
THINGS = ("bridge", "violin", "tower", "garden", "engine", "statue", "library", "harbour", "mill", "station", "clock", "orchard")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple")
ANIMALS = ("foxes", "owls", "bears", "seals", "goats", "otters", "cranes", "badgers", "moles", "swans")
FOODS = ("berries", "fish", "grass", "roots", "insects", "nuts", "eggs", "leaves", "seeds", "snails")
VERBS = ("praised", "followed", "blamed", "thanked", "visited", "helped", "warned", "painted")
UNITS = ("metres", "feet", "miles", "inches", "litres", "gallons", "grams", "pounds", "hours", "minutes")
MONTHS = ("January", "March", "April", "June", "August", "September", "October", "December")


@dataclass(frozen=True)
class Pair:
    """A query, the sentence that answers it, and one that differs in what decides; `template` counts within the kind."""

    query: str
    right: str
    wrong: str
    template: int


_Make = Callable[[np.random.Generator], tuple[str, str, str]]


def pairs(kind: str, count: int, rng: np.random.Generator) -> list[Pair]:
    """Return `count` different pairs of a kind, its templates in turn."""
    made: dict[tuple[str, str, str], Pair] = {}
    templates = KINDS[kind]
    while len(made) < count:
        number = len(made) % len(templates)
        words = templates[number](rng)
        made.setdefault(words, Pair(*words, template=number))
    return list(made.values())


def _two(rng: np.random.Generator, words: Sequence[str]) -> tuple[str, str]:
    a, b = (int(i) for i in rng.choice(len(words), 2, replace=False))
    return words[a], words[b]


def _one(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _numbers(rng: np.random.Generator) -> tuple[str, str]:
    a, b = rng.choice(np.arange(3, 98), 2, replace=False)
    return str(a), str(b)


def _exchanged(query: str, sentence: str, words: Sequence[str]) -> _Make:
    """Make pairs that differ in {a}, drawn from `words`; {place} and {thing} stand in both."""

    def make(rng: np.random.Generator) -> tuple[str, str, str]:
        a, b = _two(rng, words) if words else _numbers(rng)
        around = {"place": _one(rng, PLACES), "thing": _one(rng, THINGS), "number": _numbers(rng)[0]}
        return query.format(a=a, **around), sentence.format(a=a, **around), sentence.format(a=b, **around)

    return make


def _negated(query: str, affirmed: str, denied: str, *, asks: bool) -> _Make:
    """Make pairs of an affirming and a denying sentence; `asks` says that the query wants the affirming one."""

    def make(rng: np.random.Generator) -> tuple[str, str, str]:
        words = {
            "animal": _one(rng, ANIMALS),
            "food": _one(rng, FOODS),
            "place": _one(rng, PLACES),
            "name": _one(rng, NAMES),
            "thing": _one(rng, THINGS),
        }
        yes, no = affirmed.format(**words), denied.format(**words)
        return (query.format(**words), yes, no) if asks else (query.format(**words), no, yes)

    return make


def _swapped(query: str, sentence: str) -> _Make:
    """Make pairs in which two people change places."""

    def make(rng: np.random.Generator) -> tuple[str, str, str]:
        (a, b), verb, place = _two(rng, NAMES), _one(rng, VERBS), _one(rng, PLACES)
        told = {"verb": verb, "place": place}
        return query.format(a=a, b=b, **told), sentence.format(a=a, b=b, **told), sentence.format(a=b, b=a, **told)

    return make


def _bound(query: str, sentence: str) -> _Make:
    """Make pairs in which two things change colours."""

    def make(rng: np.random.Generator) -> tuple[str, str, str]:
        (c, d), (x, y) = _two(rng, COLOURS), _two(rng, THINGS)
        return query.format(c=c, d=d, x=x, y=y), sentence.format(c=c, d=d, x=x, y=y), sentence.format(c=d, d=c, x=x, y=y)

    return make


_AFFIRMED = (
    ("Which animals eat {food}?", "The {animal} near {place} always eat {food}.", "The {animal} near {place} never eat {food}."),
    ("Who visits the {thing} in {place}?", "{name} often visits the {thing} in {place}.", "{name} never visits the {thing} in {place}."),
    ("Where do {animal} live?", "In the woods of {place} {animal} do live.", "In the woods of {place} {animal} do not live."),
    ("Who has seen the {thing}?", "{name} has certainly seen the {thing}.", "{name} has never seen the {thing}."),
    ("Is there a {thing} in {place}?", "There is still a {thing} in {place}.", "There is no {thing} in {place}."),
)
_DENIED = (
    ("Which animals never eat {food}?", "The {animal} near {place} always eat {food}.", "The {animal} near {place} never eat {food}."),
    (
        "Who never visits the {thing} in {place}?",
        "{name} often visits the {thing} in {place}.",
        "{name} never visits the {thing} in {place}.",
    ),
    ("Where do {animal} not live?", "In the woods of {place} {animal} do live.", "In the woods of {place} {animal} do not live."),
    ("Who has never seen the {thing}?", "{name} has certainly seen the {thing}.", "{name} has never seen the {thing}."),
    ("Is there no {thing} in {place}?", "There is still a {thing} in {place}.", "There is no {thing} in {place}."),
)
KINDS: dict[str, tuple[_Make, ...]] = {
    "entity": (
        _exchanged("Where does {a} live?", "{a} lives near the {thing} of {place}.", NAMES),
        _exchanged("What did {a} build?", "The {thing} in {place} was built by {a}.", NAMES),
        _exchanged("Which {thing} belongs to {a}?", "The oldest {thing} here belongs to {a}.", NAMES),
        _exchanged("What is known of the {thing} in {a}?", "Much is known of the {thing} in {a}.", PLACES),
        _exchanged("Who came from {a} to see the {thing}?", "Two sisters came from {a} to see the {thing}.", PLACES),
    ),
    "number": (
        _exchanged("Which {thing} has {a} windows?", "The {thing} of {place} has {a} windows.", ()),
        _exchanged("Where are {a} people at work?", "At the {thing} in {place} {a} people are at work.", ()),
        _exchanged("What costs {a} crowns?", "A visit to the {thing} costs {a} crowns.", ()),
        _exchanged("Which road has number {a}?", "The road to {place} has number {a}.", ()),
        _exchanged("What was sold for {a} coins?", "The {thing} was sold in {place} for {a} coins.", ()),
    ),
    "negation-affirmed": tuple(_negated(*words, asks=True) for words in _AFFIRMED),
    "negation-denied": tuple(_negated(*words, asks=False) for words in _DENIED),
    "role-swap": (
        _swapped("{a} {verb} {b}", "In {place} {a} {verb} {b}."),
        _swapped("When was it that {a} {verb} {b}?", "It was last year that {a} {verb} {b}."),
        _swapped("{a} sold a boat to {b}", "At the market of {place} {a} sold a boat to {b}."),
        _swapped("{a} is older than {b}", "Everybody in {place} knows that {a} is older than {b}."),
        _swapped("{a} wrote a letter to {b}", "From {place} {a} wrote a letter to {b}."),
    ),
    "attribute-binding": (
        _bound("a {c} {x} and a {d} {y}", "The picture shows a {c} {x} and a {d} {y}."),
        _bound("the {c} {x} beside the {d} {y}", "Children play at the {c} {x} beside the {d} {y}."),
        _bound("Where is the {c} {x} behind the {d} {y}?", "In the old town there is the {c} {x} behind the {d} {y}."),
        _bound("a stamp with a {c} {x} on a {d} {y}", "She keeps a stamp with a {c} {x} on a {d} {y}."),
        _bound("between the {c} {x} and the {d} {y}", "The path runs between the {c} {x} and the {d} {y}."),
    ),
    "unit": (
        _exchanged("Which {thing} is {number} {a} away?", "The {thing} of {place} is {number} {a} away.", UNITS[:4]),
        _exchanged("What holds {number} {a}?", "The tank of the {thing} holds {number} {a}.", UNITS[4:6]),
        _exchanged("What weighs {number} {a}?", "A stone of the {thing} weighs {number} {a}.", UNITS[6:8]),
        _exchanged("What takes {number} {a}?", "A walk to the {thing} takes {number} {a}.", UNITS[8:10]),
        _exchanged("Which rope is {number} {a} long?", "The rope at the {thing} is {number} {a} long.", UNITS[:4]),
    ),
    "date": (
        _exchanged("What was opened in {a}?", "The {thing} of {place} was opened in {a}.", MONTHS),
        _exchanged("What happened on the {number} of {a}?", "The {thing} burnt down on the {number} of {a}.", MONTHS),
        _exchanged("Which {thing} closes in {a}?", "The {thing} in {place} closes in {a}.", MONTHS),
        _exchanged("What is planned for the year 20{a}?", "A new {thing} is planned for the year 20{a}.", tuple(str(year) for year in range(21, 60))),
        _exchanged("What was built in 18{a}?", "In {place} the {thing} was built in 18{a}.", tuple(str(year) for year in range(11, 99))),
    ),
}  # fmt: skip
