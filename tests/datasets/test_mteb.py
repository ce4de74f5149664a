from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from PIL import Image as PillowImage

datasets = pytest.importorskip("datasets")
Dataset, Image = datasets.Dataset, datasets.Image

from lidiag import hub  # noqa: E402 - after the skip
from lidiag.dataset import DataOptions  # noqa: E402 - after the skip
from lidiag.datasets import mteb  # noqa: E402
from lidiag.errors import LidiagError  # noqa: E402

QUERIES = [{"_id": "q1", "text": "lift?"}, {"_id": "q2", "text": "drag?"}, {"_id": "q3", "text": "unjudged"}]
CORPUS = [
    {"_id": "d1", "title": "Wings", "text": "lift "},
    {"_id": "d2", "title": "", "text": " drag"},
    {"_id": "d3", "title": "", "text": ""},
]
QRELS = [
    {"query-id": "q1", "corpus-id": "d1", "score": 2},
    {"query-id": "q2", "corpus-id": "d2", "score": 1},
    {"query-id": "q2", "corpus-id": "d9", "score": 1},
]
SCIFACT_PINNED = "8c5f7bbe"


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("L", (4, 3), shade).save(buffer, "PNG")
    return buffer.getvalue()


def mirror(folder: Path, split: str, configs: dict[str, Dataset]) -> None:
    """Write a folder as the hub would hold it: parquet files, and a README that says which is which."""
    folder.mkdir(parents=True)
    lines = ["---", "configs:"]
    for name, rows in configs.items():
        rows.to_parquet(folder / f"{name}.parquet")
        lines += [f"- config_name: {name}", "  data_files:", f"  - split: {split}", f"    path: {name}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))


@pytest.fixture
def nanoscifact(tmp_path):
    configs = {"default": Dataset.from_list(QRELS), "corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES)}
    mirror(tmp_path / "mirror/mteb/NanoSciFactRetrieval", "train", configs)
    return tmp_path / "mirror"


def test_a_text_task_is_read_from_a_mirror_with_mtebs_texts_and_pinned_revision(nanoscifact):
    dataset = mteb.load("NanoSciFactRetrieval", DataOptions(data_dir=nanoscifact))
    assert [(d.id, d.text) for d in dataset.documents] == [("d1", "Wings lift"), ("d2", "drag"), ("d3", "")]
    assert [(q.id, q.text) for q in dataset.queries] == [("q1", "lift?"), ("q2", "drag?")]
    assert dataset.relevance == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert (dataset.name, dataset.language) == ("mteb:NanoSciFactRetrieval", "eng-Latn")
    assert dataset.revision.startswith(SCIFACT_PINNED)
    assert any(note.startswith("1 judgements name documents that the corpus lacks") for note in dataset.notes)
    assert any("mirror" in note for note in dataset.notes)


def test_a_mirror_whose_only_split_has_another_name_serves(tmp_path):
    configs = {"default": Dataset.from_list(QRELS[:2]), "corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES)}
    mirror(tmp_path / "NanoSciFactRetrieval", "test", configs)
    assert len(mteb.load("NanoSciFactRetrieval", DataOptions(data_dir=tmp_path)).queries) == 2


def test_a_page_task_in_vidores_own_layout_keeps_its_images_encoded(tmp_path):
    corpus = Dataset.from_list([{"corpus-id": i, "image": {"bytes": png(80 * i), "path": None}} for i in (1, 2)]).cast_column(
        "image", Image()
    )
    queries = Dataset.from_list([{"query-id": 7, "query": "which page?"}])
    qrels = Dataset.from_list([{"query-id": 7, "corpus-id": 2, "score": 1}])
    mirror(tmp_path / "mteb/arxivqa_test_subsampled_beir", "test", {"corpus": corpus, "queries": queries, "qrels": qrels})
    dataset = mteb.load("VidoreArxivQARetrieval", DataOptions(data_dir=tmp_path))
    assert dataset.modalities == {"image"}
    assert dataset.relevance == {"query-test-7": {"corpus-test-2": 1}}
    assert [document.page and document.page.bytes() for document in dataset.documents] == [png(80), png(160)]
    assert dataset.documents[1].page is not None
    assert dataset.documents[1].page.open().getpixel((0, 0)) == (160, 160, 160)


def test_one_language_of_a_page_task_is_read_alone(tmp_path):
    image = Dataset.from_list([{"id": "p1", "image": {"bytes": png(9), "path": None}}]).cast_column("image", Image())
    english = {"english-corpus": image, "english-queries": Dataset.from_list([{"id": "q1", "text": "profit?"}])}
    english["english-qrels"] = Dataset.from_list([{"query-id": "q1", "corpus-id": "p1", "score": 1}])
    mirror(tmp_path / "vidore/vidore_v3_finance_en_mteb_format", "test", english)
    dataset = mteb.load("Vidore3FinanceEnRetrieval", DataOptions(parameters={"subset": "english"}, data_dir=tmp_path))
    assert dataset.name == "mteb:Vidore3FinanceEnRetrieval?subset=english"
    assert [query.text for query in dataset.queries] == ["profit?"]


def test_published_collections_resolve_to_their_tasks_without_data():
    nano = mteb.members("nanobeir", DataOptions())
    assert len(nano) == 13
    assert "mteb:NanoSciFactRetrieval" in nano
    assert len(mteb.members("vidore-v1", DataOptions())) == 10
    assert len(mteb.members("vidore-v2", DataOptions())) == 3 * 4 + 1
    assert len(mteb.members("vidore-v3", DataOptions())) == 10 * 6
    english = mteb.members("vidore-v3", DataOptions(parameters={"subset": "english"}))
    assert len(english) == 10
    assert english[0] == "mteb:Vidore3FinanceEnRetrieval?subset=english"


def test_a_name_among_the_members_names_one_part():
    assert mteb.members("NanoSciFactRetrieval", DataOptions()) == ["mteb:NanoSciFactRetrieval"]
    assert mteb.members("CQADupstackRetrieval", DataOptions())[0] == "mteb:CQADupstackAndroidRetrieval"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("NanoSciFactRetrievl", DataOptions(), "Did you mean NanoSciFactRetrieval"),
        ("Banking77Classification", DataOptions(), r"is a task of Classification"),
        ("CUB200I2IRetrieval", DataOptions(), r"is a task of Any2AnyRetrieval \(i2i\)"),
        ("Vidore3FinanceEnRetrieval", DataOptions(), r"has 6 parts: mteb:Vidore3FinanceEnRetrieval\?subset="),
        ("NanoSciFactRetrieval", DataOptions(split="dev"), "it has subset=default&split=train"),
        ("NanoSciFactRetrieval", DataOptions(parameters={"subset": "x"}), "no part of subset x"),
        ("NanoSciFactRetrieval", DataOptions(revision="abc"), "mteb pins NanoSciFactRetrieval to revision 8c5f7bbe"),
        ("NanoSciFactRetrieval", DataOptions(parameters={"langage": "en"}), "no parameter of mteb:NanoSciFactRetrieval named 'langage'"),
        ("NanoSciFactRetrieval", DataOptions(data_dir=Path("nowhere")), "is not in the mirror nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_said_with_what_can(name, options, said):
    with pytest.raises(LidiagError, match=said):
        mteb.load(name, options)


def test_offline_and_out_of_the_cache_fails_within_seconds_with_the_cause():
    start = time.perf_counter()
    with pytest.raises(LidiagError, match=r"mteb/NanoSciFactRetrieval of NanoSciFactRetrieval cannot be loaded: this run is offline"):
        mteb.load("NanoSciFactRetrieval", DataOptions(offline=True))
    assert time.perf_counter() - start < 5


def test_a_hub_that_does_not_answer_is_given_up_within_seconds(monkeypatch):
    import huggingface_hub  # noqa: PLC0415 - to stand in for it

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: time.sleep(30))
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    with pytest.raises(LidiagError, match=r"no answer within 0.2 s, and"):
        mteb.load("NanoSciFactRetrieval", DataOptions())


def test_a_mirror_with_a_part_missing_is_refused(tmp_path):
    mirror(tmp_path / "NanoSciFactRetrieval", "train", {"default": Dataset.from_list(QRELS), "corpus": Dataset.from_list(CORPUS)})
    with pytest.raises(LidiagError, match=r"cannot be loaded: .*queries"):
        mteb.load("NanoSciFactRetrieval", DataOptions(data_dir=tmp_path))


def test_flags_of_the_hubs_clients_are_as_before_after_a_mirror_was_read(nanoscifact):
    from huggingface_hub import constants  # noqa: PLC0415 - as above

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    mteb.load("NanoSciFactRetrieval", DataOptions(data_dir=nanoscifact))
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
