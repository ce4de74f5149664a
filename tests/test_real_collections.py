"""Whole runs on real collections: pages within memory, languages in one call and crossed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.shared import SHARED, needs_shared
from tests.zoo_visual import Zoo

pytestmark = pytest.mark.slow
MEASURE = """
import resource, sys
from lidiag.cli import main
try:
    main()
finally:
    sys.stderr.write(f"\\npeak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")
"""


def lidiag(cwd, *arguments):
    """Run the command; return its report and its peak of memory in GB."""
    env = dict(os.environ) | {"LIDIAG_CACHE": str(cwd / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", MEASURE, "run", "--suite", "quality", "--out", "out", "--json", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr  # 1: a gate failed, as a random model's must
    return json.loads(done.stdout), int(done.stderr.rpartition("peak ")[2]) * 1024 / 1e9


def ndcg(report):
    """Return nDCG@10 by MaxSim, by collection."""
    found = {}
    for result in report["results"]:
        for m in result["measurements"]:
            if m["name"] == "nDCG@10" and m["at"] == {"pooling": "maxsim"}:
                found[result["dataset"]] = m["value"]
    return found


@needs_shared("data/contoso-pages")
def test_pages_go_through_a_visual_model_below_two_gigabytes(tmp_path):
    report, peak = lidiag(tmp_path, "--model", Zoo(tmp_path / "zoo")["colqwen2_5"], "--data", SHARED / "data" / "contoso-pages")
    assert [(data["documents"], data["queries"]) for data in report["data"]] == [(273, 60)]
    assert report["data"][0]["document_vectors"] > 273 * 64
    assert peak < 2


@needs_shared("data/contoso-pages")
@needs_shared("models/minilm-colbert")
def test_their_text_layer_goes_through_a_text_model_below_two_gigabytes(tmp_path):
    report, peak = lidiag(tmp_path, "--model", SHARED / "models" / "minilm-colbert", "--data", SHARED / "data" / "contoso-pages")
    assert ndcg(report)["contoso-pages"] == pytest.approx(0.370, abs=0.001)  # an independent computation's
    assert peak < 2


@needs_shared("data/xquad")
def test_three_languages_run_in_one_call_and_crossed(tmp_path):
    folder = SHARED / "data" / "xquad"
    own, _ = lidiag(tmp_path, *(part for language in ("en", "de", "zh") for part in ("--data", folder / language)))
    assert [(data["name"], data["queries"], data["documents"]) for data in own["data"]] == [
        (name, 1190, 240) for name in ("en", "de", "zh")
    ]
    crossed, _ = lidiag(tmp_path, "--data", folder / "en", "--data", folder / "zh", "--queries", folder / "de", "--out", "crossed")
    assert [data["name"] for data in crossed["data"]] == ["en?queries=de", "zh?queries=de"]
    assert ndcg(crossed)["en?queries=de"] < ndcg(own)["en"]
    assert ndcg(crossed)["zh?queries=de"] < ndcg(crossed)["en?queries=de"]  # German shares words with English, and letters
