"""The suites that come with lidiag: every gate and claim speaks of something that a step of its suite measures."""

from __future__ import annotations

import pytest

from lidiag import catalog
from lidiag.gate import Place
from lidiag.suite import Suite

SUITES = catalog.suite_names()


def places(suite: Suite):
    for gate in suite.gates:
        yield gate
        if isinstance(gate.bound, Place):
            yield gate.bound
    for claim in suite.claims:
        if claim.measured:
            yield claim.measured


@pytest.mark.parametrize("name", SUITES)
def test_what_is_judged_is_measured(name):
    suite = catalog.suite(name)
    probes = {step.probe: catalog.probe(step.probe, dict(step.parameters)) for step in suite.steps}
    for place in places(suite):
        assert place.name in probes[place.probe].formulas, f"{place}"


@pytest.mark.parametrize("name", SUITES)
def test_poolings_in_coordinates_are_among_the_parameters(name):
    suite = catalog.suite(name)
    probes = {step.probe: catalog.probe(step.probe, dict(step.parameters)) for step in suite.steps}
    for place in places(suite):
        asked = getattr(probes[place.probe], "poolings", None)
        for key in ("pooling", "than"):
            if asked is not None and key in place.at:
                assert place.at[key] in asked, f"{place}"


@pytest.mark.parametrize("name", SUITES)
def test_a_faulty_checkpoint_fails_every_suite(name):
    if name == "calibration":
        pytest.skip("it is for simulated vectors: no checkpoint is loaded")
    assert any((gate.probe, gate.name, gate.bound) == ("load-check", "faults", 0) for gate in catalog.suite(name).gates)
