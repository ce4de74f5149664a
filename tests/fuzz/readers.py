"""Every reader of files from outside: the valid files it is given, and how it is called."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from lidiag import catalog, checkpoint, compare, export, judgement, samples, strict_json, submission, suite, tensor_files, terminal
from lidiag import report as reports
from lidiag.adapter import LoadOptions
from lidiag.adapters import _endpoint, _loading, colpali, http, precomputed, sentence_transformers, smart, transformers
from lidiag.dataset import DataOptions, Page
from lidiag.datasets import beir, check, qrels, rows
from lidiag.datasets.lines import Faults
from lidiag.errors import LidiagError
from lidiag.files import sha256
from lidiag.html import card
from lidiag.measurement import Skip
from lidiag.multivector import MultiVectors
from tests import reports as made

SUITES = Path(__file__).resolve().parents[2] / "suites"


@dataclass(frozen=True)
class Reader:
    """`files` writes the valid files into a folder; `read` reads the folder; `spoilt` names the files that are spoilt."""

    files: Callable[[Path], None]
    read: Callable[[Path], object]
    spoilt: tuple[str, ...]


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _report(folder: Path) -> None:
    made.write(folder, probes=("retrieval", "length-bias"), poolings=("maxsim", "topk(4)"), queries=6)


def _read_report(folder: Path) -> None:
    report = reports.read(folder)
    terminal.summary(report, everything=True)
    card.write(report, folder / "report.html")


def _read_values(folder: Path) -> None:
    """Read values that their report vouches for: their author is the report's."""
    report = _REPORT[0]
    values = report.values.model_copy(update={"sha256": sha256(folder / "values.parquet")})
    samples.read(folder / "values.parquet", report.model_copy(update={"values": values}))


_REPORT: list[reports.Report] = []


def _values(folder: Path) -> None:
    _report(folder)
    _REPORT[:] = [reports.read(folder)]


_SUITE = suite.Suite(name="robustness", version=1, description="", steps=(suite.Step(probe="retrieval"),), gates=(made.FLOOR,))


def _submission(folder: Path) -> None:
    used = reports.SuiteUsed(name="robustness", version=1, digest=_SUITE.digest)
    made.write(folder, probes=("retrieval",), poolings=("maxsim", "topk(4)"), queries=6, suite=used)


def _submit(folder: Path) -> None:
    submission.verify(folder, {"robustness": _SUITE})


def _compare(folder: Path) -> None:
    (side,) = compare.load_alone(folder)
    judgement.judge(side, side).text()


def _gates(folder: Path) -> None:
    _report(folder)
    _text(folder / "gates.toml", GATES)


GATES = """
[[gates]]
probe = "retrieval"
name = "nDCG@10"
at = { pooling = "maxsim" }
of = "low"
op = ">"
bound = 0.02
margin = 0.01
reason = "Below this the model retrieves nothing."

[[gates]]
probe = "retrieval"
name = "nDCG@10"
at = { pooling = "maxsim" }
op = ">="
bound = { probe = "retrieval", name = "nDCG@10", at = { pooling = "topk(4)" } }
reason = "Never worse."

[[regressions]]
probe = "retrieval"
name = "nDCG@10"
"""


def _judge(folder: Path) -> None:
    gates = judgement.read(folder / "gates.toml")
    (side,) = compare.load_alone(folder)
    judgement.judge(side, side, gates).text()


def _corpus(folder: Path) -> None:
    lines = [
        '{"_id": "d1", "title": "A", "text": "one wing"}',
        '{"_id": "d2", "text": "two wings"}',
        '{"_id": 3, "text": "", "image": "p.png"}',
    ]
    _text(folder / "corpus.jsonl", "\n".join(lines) + "\n")
    _text(folder / "queries.jsonl", '{"_id": "q1", "text": "wing?"}\n{"_id": "q2", "text": "wings?", "metadata": {"x": 1}}\n')
    _text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq2\t3\t0\n")
    Image.new("RGB", (8, 8), "red").save(folder / "p.png")


def _packed_corpus(folder: Path) -> None:
    _corpus(folder)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), mtime=0))
        (folder / name).unlink()


def _read_lines(folder: Path) -> None:
    faults = Faults()
    list(rows.read_queries(folder / "queries.jsonl", faults).values())
    faults.refuse(folder, "Mend it.")


def _read_qrels(folder: Path) -> None:
    faults = Faults()
    list(qrels.read(folder / "qrels" / "test.tsv", faults).rows)
    faults.refuse(folder, "Mend it.")


def _vectors() -> MultiVectors:
    return MultiVectors.pack([torch.ones(2, 4), torch.zeros(0, 4), torch.eye(4)], torch.ones(3, 4))


def _precomputed(folder: Path) -> None:
    _text(folder / "corpus.jsonl", "".join(f'{{"_id": "d{i}", "text": "text {i}"}}\n' for i in range(3)))
    _text(folder / "queries.jsonl", "".join(f'{{"_id": "q{i}", "text": "text {i}"}}\n' for i in range(3)))
    _text(
        folder / "model.json",
        '{"name": "org/m", "attention": "causal", "query_length": 32, "prompts": {"query": "Q"}, "versions": {"x": "1"}}',
    )
    for side in ("documents", "queries"):
        _vectors().save(folder / f"{side}.safetensors")


def _arrays(folder: Path) -> None:
    _precomputed(folder)
    for side in ("documents", "queries"):
        (folder / f"{side}.safetensors").unlink()
        vectors = _vectors()
        np.save(folder / f"{side}.npy", vectors.vectors.numpy())
        np.save(folder / f"{side}.offsets.npy", vectors.offsets.numpy())
        np.save(folder / f"{side}.pooled.npy", vectors.pooled.numpy())


def _load_precomputed(folder: Path) -> None:
    model = precomputed.load(str(folder), LoadOptions())
    with suppress(Skip):  # a spoilt text is another one, whose vectors are not there
        model.queries(["text 0", "text 2"])


def _checkpoint(folder: Path) -> None:
    _text(folder / "config.json", '{"architectures": ["HF_ColBERT", "BertModel"], "model_type": "bert", "hidden_size": 8}')
    _text(
        folder / "config_sentence_transformers.json", '{"model_type": "ColBERT", "prompts": {"query": ""}, "__version__": {"pylate": "1"}}'
    )
    modules = '{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}'
    _text(folder / "modules.json", f"[{modules}]")
    _text(
        folder / "1_Dense" / "config.json",
        '{"in_features": 8, "out_features": 4, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"}',
    )
    _text(
        folder / "adapter_config.json",
        '{"base_model_name_or_path": "org/base", "modules_to_save": ["x"], "target_modules": "all", "revision": null}',
    )
    _text(folder / "artifact.metadata", '{"query_maxlen": 32, "doc_maxlen": 180}')
    _text(folder / "preprocessor_config.json", '{"processor_class": "ColPaliProcessor"}')
    for part in (folder, folder / "1_Dense"):
        save_file({"linear.weight": torch.ones(4, 8)}, part / "model.safetensors", {"format": "pt"})


def _look_at(folder: Path) -> None:
    """Do all that is done with a checkpoint's files before a model library is given them."""
    options = LoadOptions(offline=True)
    faults: list[LidiagError] = []
    steps = (
        lambda: [adapter.claims(folder) for adapter in (sentence_transformers, transformers, colpali, smart) if hasattr(adapter, "claims")],
        lambda: catalog._recognise(catalog.Name.parse(str(folder)), options),
        lambda: sentence_transformers._refuse_random_heads(checkpoint.find(str(folder), options)),
        lambda: sentence_transformers._refuse_foreign_modules(checkpoint.find(str(folder), options), options),
        lambda: sentence_transformers._refuse_partial_stanford(checkpoint.find(str(folder), options)),
        lambda: _loading.locate(str(folder), options),
        lambda: _loading.trains(folder, "x"),
    )
    for step in steps:
        try:
            step()
        except LidiagError as error:
            faults.append(error)
    if len(faults) > 2:  # two of the steps refuse the valid folder
        raise faults[0]


def _pages(folder: Path) -> None:
    picture = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    for name in ("p.png", "p.jpg", "p.webp", "p.gif", "p.tiff"):
        picture.save(folder / name)


def _open_pages(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        Page(path).open()


def _answer(folder: Path) -> None:
    _text(
        folder / "answer.json",
        '{"object": "list", "data": [{"index": 0, "data": [[1, 0.5], [0, 1]]}, {"index": 1, "embedding": [[0.25, 1]]}]}',
    )


def _ask(folder: Path) -> None:
    """Hand the file to the endpoint as if a server had answered it."""
    http.HttpModel(_Answered("http://localhost:1/x", folder / "answer.json"), http.Settings()).queries(["a", "b"])


@dataclass(frozen=True)
class _Answered(_endpoint.Endpoint):
    file: Path = Path()

    def __init__(self, url: str, file: Path) -> None:
        super().__init__(url)
        object.__setattr__(self, "file", file)

    def ask(self, body: dict[str, object]) -> object:
        return strict_json.read(self.file, 2**20, "an answer", "Check.")


def _golden(folder: Path) -> None:
    _vectors().save(folder / "golden.safetensors", {"side": "query", "texts": '["a", "b", "c"]'})


def _read_golden(folder: Path) -> None:
    import_module("lidiag.probes._load_golden")._read(folder / "golden.safetensors")


def _copied(*names: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            shutil.copy(SUITES / name, folder / name)

    return write


READERS: Mapping[str, Reader] = {
    "report": Reader(_report, _read_report, ("report.json",)),
    "values": Reader(_values, _read_values, ("values.parquet",)),
    "submission": Reader(_submission, _submit, ("report.json", "values.parquet")),
    "comparison": Reader(_report, _compare, ("report.json",)),
    "export": Reader(_report, lambda folder: [export.text(reports.read(folder), to, "org") for to in ("csv", "latex", "every-eval-ever")], ("report.json",)),
    "gates": Reader(_gates, _judge, ("gates.toml",)),
    "suite": Reader(_copied("robustness.toml"), lambda folder: suite.read(folder / "robustness.toml").digest, ("robustness.toml",)),
    "collection": Reader(_corpus, lambda folder: beir.load(str(folder), DataOptions()).fingerprint, ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "p.png")),
    "collection.gz": Reader(_packed_corpus, lambda folder: beir.load(str(folder), DataOptions()), ("corpus.jsonl.gz", "queries.jsonl.gz", "qrels/test.tsv.gz")),
    "data check": Reader(_corpus, lambda folder: check.text(check.check(folder)), ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "p.png")),
    "queries": Reader(_corpus, _read_lines, ("queries.jsonl",)),
    "qrels": Reader(_corpus, _read_qrels, ("qrels/test.tsv",)),
    "precomputed": Reader(_precomputed, _load_precomputed, ("documents.safetensors", "queries.safetensors", "model.json", "corpus.jsonl", "queries.jsonl")),
    "arrays": Reader(_arrays, _load_precomputed, ("documents.npy", "documents.offsets.npy", "documents.pooled.npy", "queries.npy")),
    "checkpoint": Reader(_checkpoint, _look_at, ("config.json", "config_sentence_transformers.json", "modules.json", "1_Dense/config.json", "adapter_config.json", "artifact.metadata", "preprocessor_config.json", "model.safetensors")),
    "safetensors": Reader(_golden, lambda folder: tensor_files.check_safetensors(folder / "golden.safetensors"), ("golden.safetensors",)),
    "golden": Reader(_golden, _read_golden, ("golden.safetensors",)),
    "page": Reader(_pages, _open_pages, ("p.png", "p.jpg", "p.webp", "p.gif", "p.tiff")),
    "answer": Reader(_answer, _ask, ("answer.json",)),
}  # fmt: skip
