"""Plausible reports without a model: values by query are drawn, and everything else follows from them as in a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lidiag import values
from lidiag.card import ModelCard
from lidiag.findings import Findings
from lidiag.gate import Gate, judge
from lidiag.report import DataUsed, Environment, Report, Result, SuiteUsed

POOLINGS = ("maxsim", "topk(4)", "softmax(0.1)", "softmax(1)")
INJECTED = (0, 25, 50, 100, 200, 400)
PROBES = ("retrieval", "length-bias", "length-sweep", "distractor-hijacking", "similarity-tail", "gradient-gini")
SUITE = SuiteUsed(name="robustness", version=1, digest="d" * 64)
FLOOR = Gate(
    probe="retrieval",
    name="nDCG@10",
    at={"pooling": "maxsim"},
    of="low",
    op=">",
    bound=0.02,
    reason="Below this the model retrieves nothing.",
)
# Half of the share of quality that is lost at 100 injected vectors, by distractor: invented, in the order that real ones have.
_HARM = {"targeted": 0.9, "targeted_pooled": 0.5, "spike": 0.8, "random": 0.2, "passage": 0.1, "gaussian": 0.0, "gaussian_matched": 0.08}
_HARDNESS = {"maxsim": 1.0, "topk(4)": 0.8, "softmax(0.1)": 0.7, "softmax(1)": 0.4}


def write(  # noqa: PLR0913 - one option per thing that tests vary
    folder: Path,
    *,
    name: str = "org/model",
    revision: str = "0" * 40,
    quality: float = 0.0,
    seed: int = 0,
    queries: int = 60,
    probes: Sequence[str] = PROBES,
    poolings: Sequence[str] = POOLINGS,
    datasets: Sequence[str] = ("facts",),
    gates: Sequence[Gate] = (FLOOR,),
    limit: int | None = None,
    suite: SuiteUsed = SUITE,
) -> Report:
    """Write report.json and values.parquet into `folder`; `quality` moves every query's nDCG, `seed` draws what differs between models."""
    results: list[Result] = []
    said: list[tuple[str, str, Findings]] = []
    for dataset in datasets:
        ids = [f"q{i}" for i in range(queries)]
        for probe, findings in _measured(dataset, ids, probes, poolings, quality=quality, seed=seed):
            said.append((dataset, probe, findings))
            results.append(_result(dataset, probe, findings))
    verdicts = [judge(gate, [r.judged() for r in results if r.dataset == d], d) for gate in gates for d in datasets]
    failed = {(gate.dataset, gate.probe) for gate in verdicts if gate.status == "failed"}
    report = Report(
        lidiag="0.1.0",
        model=ModelCard(
            name=name, revision=revision, adapter="toy", reason="asked for", family="Toy", modalities=("text",), dim=128, dtype="float32"
        ),
        suites=(suite,),
        data=tuple(_data(dataset, queries) for dataset in datasets),
        seed=0,
        limit=limit,
        environment=Environment(versions={"python": "3.11"}, device="cpu", dtype="float32", threads=1, git=None, platform="Linux", plan={}),
        results=tuple(r.model_copy(update={"status": "failed"}) if (r.dataset, r.probe) in failed else r for r in results),
        gates=tuple(verdicts),
        values=values.write(folder / "values.parquet", said),
        timings={"probes": 1.0},
    )
    report.write(folder / "report.json")
    return report


def _data(dataset: str, queries: int) -> DataUsed:
    fingerprint = hashlib.sha256(dataset.encode()).hexdigest()
    return DataUsed(
        name=dataset, revision="1", fingerprint=fingerprint, documents=500, queries=queries, left_out={"no positive judgement": 2}, empty_documents=0,
        document_vectors=40_000, query_vectors=900,
    )  # fmt: skip


def _result(dataset: str, probe: str, findings: Findings) -> Result:
    primary = {
        "retrieval": "nDCG@10",
        "length-sweep": "ndcg_retained",
        "distractor-hijacking": "recall_retained",
        "similarity-tail": "tail_gain",
    }
    return Result(
        probe=probe, version=1, question=f"What does {probe} ask?", primary=primary.get(probe, findings.measurements[0].name), parameters={"draws": 5},
        dataset=dataset, status="passed", seconds=1.5, measurements=tuple(findings.measurements), findings=tuple(findings.findings),
        formulas={m.name: f"the definition of {m.name}" for m in findings.measurements}, source="A paper (arXiv 0000.00000, section 4)",
    )  # fmt: skip


def _measured(  # noqa: PLR0913 - what a model is drawn from
    dataset: str, ids: list[str], probes: Sequence[str], poolings: Sequence[str], *, quality: float, seed: int
) -> Iterator[tuple[str, Findings]]:
    shared = np.random.default_rng([len(dataset), 7])  # how hard each query is, for every model alike
    own = np.random.default_rng([seed, 11])
    clean = np.clip(shared.beta(2, 2, len(ids)) + quality + own.normal(0, 0.05, len(ids)), 0.01, 1)
    for probe in probes:
        found = Findings(ids)
        _PROBES[probe](found, clean, poolings, own)
        found.say("verdict", f"{probe}: shown, on {len(ids)} queries.", verdict="shown")
        yield probe, found


def _retrieval(found: Findings, clean, poolings, own) -> None:
    for i, pooling in enumerate(poolings):
        found.mean("nDCG@10", {"pooling": pooling}, clean * (1 - 0.03 * i), better="higher", share=True)
        found.mean("R@1", {"pooling": pooling}, (clean > 0.5 + 0.02 * i).astype(float), better="higher", share=True)


def _length_bias(found: Findings, clean, poolings, own) -> None:
    for pooling in poolings:
        found.mean("score_length_correlation", {"pooling": pooling}, own.normal(0.27, 0.1, len(clean)))
        for decile in range(1, 11):
            found.ratio(
                "length_lift", {"pooling": pooling, "decile": decile}, 1 + decile / 10 + own.random(len(clean)), np.full(len(clean), 2.0)
            )
    found.number("length_limit_share", {}, 0.25, n=500, unit_of_n="documents", no_interval="a count of the whole collection")


def _length_sweep(found: Findings, clean, poolings, own) -> None:
    for pooling in poolings:
        for grown in ("all", "non-relevant", "relevant"):
            for filler in ("corpus", "gaussian"):
                for growth in (1, 2, 4, 8):
                    at = {"pooling": pooling, "growth": growth, "grown": grown, "filler": filler}
                    loss = {"all": 0.05, "non-relevant": 0.1, "relevant": -0.01}[grown] * np.log2(growth) * _HARDNESS[pooling]
                    kept = np.clip(clean * (1 - loss * (filler == "corpus")) + own.normal(0, 0.01, len(clean)) * (growth > 1), 0, 1)
                    found.ratio("ndcg_retained", at, kept, clean, better="higher")


def _hijacking(found: Findings, clean, poolings, own) -> None:
    for pooling in poolings:
        for kind, harm in _HARM.items():
            for k in INJECTED:
                at = {"pooling": pooling, "k": k, "distractor": kind}
                loss = harm * _HARDNESS[pooling] * k / (k + 50)
                noise = own.normal(0, 0.02, len(clean)) * (k > 0)
                found.mean("hijack_rate", at, np.clip(loss + noise, 0, 1), better="lower", share=True)
                found.ratio("recall_retained", at, np.clip(clean * (1 - loss) + noise, 0, 1), clean, better="higher")
                found.ratio("ndcg_retained", at, np.clip(clean * (1 - loss) + noise, 0, 1), clean, better="higher")


def _tail(found: Findings, clean, poolings, own) -> None:
    for documents, top in (("relevant", 0.7), ("non-relevant", 0.6)):
        for rank in range(1, 33):
            found.mean("similarity", {"rank": rank, "documents": documents}, top - 0.08 * np.log2(rank) + own.normal(0, 0.05, len(clean)))
    for rank in (1, 2, 4, 8, 16, 32):
        found.mean("rank_auc", {"rank": rank}, np.clip(0.8 - 0.03 * np.log2(rank) + own.normal(0, 0.1, len(clean)), 0, 1), share=True)
    found.mean("tail_gain", {}, own.normal(0.008, 0.03, len(clean)))


def _gini(found: Findings, clean, poolings, own) -> None:
    for i, pooling in enumerate(poolings):
        for name, level in (("gini", 0.92), ("gini_paper", 0.91), ("n_eff", 8.0), ("gini_excess", 0.3)):
            found.mean(name, {"pooling": pooling}, own.normal(level / (1 + 0.2 * i), 0.05, len(clean)))


_PROBES = {
    "retrieval": _retrieval,
    "length-bias": _length_bias,
    "length-sweep": _length_sweep,
    "distractor-hijacking": _hijacking,
    "similarity-tail": _tail,
    "gradient-gini": _gini,
}
