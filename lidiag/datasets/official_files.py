"""The files that a benchmark's own tools read, written from a report: mteb's results folder, and Hugging Face's `.eval_results`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lidiag.files import write_text
from lidiag.report import Report

_MTEB = "https://github.com/embeddings-benchmark/mteb/"


def write(report: Report, folder: Path) -> None:
    """Write `mteb/results/<org>__<name>/<revision>/<Task>.json`, with model_meta.json and run_settings.jsonl, and `.eval_results/<Task>.yaml`.

    A task's parts that are in the report stand in one file. Nothing is written where the report holds no official score.
    `evaluation_time` is that of ranking and counting, without the encoding.
    """
    records = list(_records(report))
    if not records:
        return
    from mteb.cache import ResultCache  # noqa: PLC0415 - seconds to import
    from mteb.results import TaskResult  # noqa: PLC0415

    from lidiag.datasets.official import meta_of  # noqa: PLC0415

    now = datetime.now(tz=UTC)
    cache, meta = ResultCache(folder / "mteb"), meta_of(report.model)
    for task in dict.fromkeys(record["task_name"] for record, _ in records):
        of_task = [(record, seconds) for record, seconds in records if record["task_name"] == task]
        first = of_task[0][0]
        scores: dict[str, list[Any]] = {}
        for record, _ in of_task:
            scores.setdefault(record["split"], []).append(record["scores"])
        result = TaskResult(
            dataset_revision=first["dataset_revision"],
            task_name=task,
            mteb_version=first["mteb_version"],
            scores=scores,
            evaluation_time=sum(seconds for _, seconds in of_task),
            date=now,
        )
        settings = {"batch_size": report.environment.plan["batch_size"], "dtype": report.environment.dtype}
        cache.save_to_cache(result, meta, encode_kwargs=settings)
        write_text(folder / ".eval_results" / f"{task}.yaml", _entries(first["dataset"], result, now))


def _records(report: Report) -> Iterator[tuple[Mapping[str, Any], float]]:
    for result in report.results:
        for finding in result.findings:
            record = finding.data.get("record")
            if isinstance(record, dict) and "task_name" in record:
                yield record, result.seconds


def _entries(dataset: str, result: Any, now: datetime) -> str:
    """Return the entries of one task: mteb's task ids, one per subset and split, and the whole task's where all of it was run."""
    import yaml  # noqa: PLC0415 - comes with the hub's client, which the next line loads
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml  # noqa: PLC0415

    values: dict[str, float] = {
        f"{result.task_name}_{row['hf_subset']}_{split}": row["main_score"] for split, rows in result.scores.items() for row in rows
    }
    if _is_whole(result):
        values[result.task_name] = result.get_score()
    entries: Sequence[EvalResultEntry] = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=task_id,
            value=round(float(value) * 100, 5),
            dataset_revision=result.dataset_revision,
            date=now.date().isoformat(),
            source_url=_MTEB,
            source_name=f"Obtained using MTEB v{result.mteb_version}",
            notes=f"Obtained using MTEB v{result.mteb_version}, ranked by lidiag",
        )
        for task_id, value in values.items()
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(list(entries)), sort_keys=False)


def _is_whole(result: Any) -> bool:
    return not result.get_missing_evaluations(result.task)
