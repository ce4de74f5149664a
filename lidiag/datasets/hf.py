"""`hf:org/name[@revision]?key=value`: a collection of the hub, its columns named by the parameters.

Either it is one table, each row a query with its relevant document (`query`, and `text` or `image`; rows without a query are
further documents; `id`, where there is such a column, names the document, and documents without one are told apart by their
content); or it has three, called `corpus`, `queries` and `qrels` (or `default`): then `id`, `title`, `text` and `image` are
columns of the corpus, `query-id` and `query` of the queries, and `query-id`, `corpus-id` and `score` of the judgements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lidiag.dataset import DataOptions, Dataset, Document, Query
from lidiag.datasets import columns, mirror
from lidiag.errors import LidiagError, unknown

_TABLES = ("corpus", "queries", "qrels")
_COLUMNS = ("id", "title", "text", "image", "query-id", "query", "corpus-id", "score")
_USUAL = {
    "id": ("id", "_id", "corpus-id", "corpus_id"),
    "title": ("title",),
    "text": ("text",),
    "image": ("image",),
    "query-id": ("id", "_id", "query-id", "query_id"),
    "query": ("query", "text", "question"),
    "corpus-id": ("corpus-id", "corpus_id"),
    "score": ("score",),
}


def load(name: str, options: DataOptions) -> Dataset:
    """Load a collection; `?config=` and `?split=` choose a table where there are several, `?corpus=` ... the three by their names.

    Raises:
        LidiagError: it cannot be had, a column is not there, or ids and judgements do not fit together.
    """
    options.require(f"hf:{name}", (*_COLUMNS, *_TABLES, "config", "split"), revision=True)
    with mirror.reaching(name, options.revision, options) as place:
        source = _Source(name, place, options)
        chosen = source.tables()
        if chosen is None:
            return _of_pairs(source, source.table(options.parameters.get("config")))
        return _of_tables(source, {table: source.table(config) for table, config in chosen.items()})


@dataclass(frozen=True)
class _Source:
    """A place, and what the parameters say of it."""

    name: str
    place: str
    options: DataOptions

    @property
    def revision(self) -> str | None:
        return None if self.options.data_dir else self.options.revision

    def configs(self) -> list[str]:
        from datasets import get_dataset_config_names  # noqa: PLC0415 - seconds to import

        return list(get_dataset_config_names(self.place, revision=self.revision))

    def tables(self) -> dict[str, str] | None:
        """Return the configs of corpus, queries and judgements; None where the collection is one table."""
        given = {table: self.options.parameters[table] for table in _TABLES if table in self.options.parameters}
        configs = self.configs()
        usual = {"corpus": "corpus", "queries": "queries", "qrels": "qrels" if "qrels" in configs else "default"}
        if not given and not set(usual.values()) <= set(configs):
            return None
        found = usual | given
        for table, config in found.items():
            if config not in configs:
                raise unknown(f"config ({table}) of hf:{self.name}", config, configs, "its page on the hub")
        return found

    def table(self, config: str | None) -> Any:
        from datasets import get_dataset_split_names, load_dataset  # noqa: PLC0415 - seconds to import

        configs = self.configs()
        if config is None and len(configs) > 1:
            raise LidiagError(f"hf:{self.name} has several configs: {', '.join(configs[:8])}.", f"Say which: ?config={configs[0]}.")
        config = config or configs[0]
        splits = list(get_dataset_split_names(self.place, config, revision=self.revision))
        wanted = self.options.split or self.options.parameters.get("split") or ("test" if "test" in splits else None)
        if wanted is None and len(splits) == 1:
            wanted = splits[0]
        if wanted not in splits:
            raise LidiagError(
                f"hf:{self.name} has no split {wanted or 'test'} in {config}, but {', '.join(splits)}.", f"Say which: ?split={splits[0]}."
            )
        table = load_dataset(self.place, config, split=wanted, revision=self.revision)
        mirror.require_revision(table, self.revision, self.name)
        return table

    def column(self, what: str, table: Any, *, needed: bool = True) -> str | None:
        """Return the column that holds `what`: the one that the parameters name, else a usual one.

        Raises:
            LidiagError: the one named is not there, or none is, and it is needed.
        """
        there = list(table.column_names)
        named = self.options.parameters.get(what)
        if named is not None and named not in there:
            raise unknown(f"column of hf:{self.name}", named, there, "its page on the hub")
        found = named or next((name for name in _USUAL[what] if name in there), None)
        if found is None and needed:
            raise LidiagError(
                f"hf:{self.name} does not say which column is the {what}; it has {', '.join(there)}.", f"Say which: ?{what}={there[0]}."
            )
        return found

    def documents(self, table: Any, query: str | None = None) -> Any:
        """Return the table with the columns `title`, `text` and `image` only, as far as it has them; `query` is none of them.

        Raises:
            LidiagError: it has neither text nor image.
        """
        found = {what: self.column(what, table, needed=False) for what in ("title", "text", "image")}
        found = {what: column for what, column in found.items() if column not in {None, query}}
        if not found.keys() & {"text", "image"}:
            there = [column for column in table.column_names if column != query]
            what = f"hf:{self.name} does not say which column holds the documents; it has {', '.join(there)}."
            raise LidiagError(what, f"Say which: ?text={there[0] if there else 'COLUMN'}, or ?image=.")
        return _renamed(table, {what: str(column) for what, column in found.items()})

    def dataset(self, queries: Sequence[Query], documents: Sequence[Document], relevance: Mapping[str, Mapping[str, int]]) -> Dataset:
        given = "&".join(f"{key}={value}" for key, value in sorted(self.options.parameters.items()))
        made = Dataset(f"hf:{self.name}" + (f"?{given}" if given else ""), queries, documents, relevance)
        notes = ("read from a mirror",) if self.options.data_dir else ()
        revision = self.options.revision or made.fingerprint[:40]
        return Dataset(made.name, queries, documents, relevance, revision=revision, notes=notes)


def _of_tables(source: _Source, tables: Mapping[str, Any]) -> Dataset:
    corpus, asked, judged = (tables[name] for name in _TABLES)
    kept = source.documents(corpus).add_column("id", [str(id_) for id_ in corpus[source.column("id", corpus)]])
    documents = columns.documents(kept, frozenset({"text", "image"}), f"hf:{source.name}")
    names = [str(id_) for id_ in asked[source.column("query-id", asked)]]
    texts = dict(zip(names, asked[source.column("query", asked)], strict=True))
    rows = zip(
        (str(id_) for id_ in judged[_judging(source, "query-id", judged)]),
        (str(id_) for id_ in judged[_judging(source, "corpus-id", judged)]),
        judged[_judging(source, "score", judged)],
        strict=True,
    )
    relevance: dict[str, dict[str, int]] = {}
    for query, document, score in rows:
        relevance.setdefault(query, {})[document] = int(score)
    for what, ids, known in (("query", relevance, texts), ("document", {d for row in relevance.values() for d in row}, documents)):
        if strangers := sorted(set(ids) - set(known)):
            raise LidiagError(
                f"hf:{source.name} judges {len(strangers):,} unknown {what} ids: {', '.join(strangers[:3])}.", "Mend its data."
            )
    queries = [Query(name, str(texts[name])) for name in names if name in relevance]
    return source.dataset(queries, list(documents.values()), relevance)


def _judging(source: _Source, what: str, table: Any) -> str:
    """Return the column of the judgements; there the query's id is not called `id`."""
    usual = {"query-id": ("query-id", "query_id"), "corpus-id": _USUAL["corpus-id"], "score": _USUAL["score"]}[what]
    found = next((name for name in usual if name in table.column_names), None) or source.column(what, table)
    return str(found)


def _of_pairs(source: _Source, table: Any) -> Dataset:
    question = source.column("query", table)
    asked = table[question]
    id_column = source.column("id", table, needed=False)
    rows = source.documents(table, question).add_column("id", [str(i) for i in range(len(table))])
    read = columns.documents(rows, frozenset({"text", "image"}), f"hf:{source.name}").values()
    documents: dict[str, Document] = {}
    queries: dict[str, str] = {}
    relevance: dict[str, dict[str, int]] = {}
    names: dict[str, str] = {}  # of documents without an id: by their content
    given = [str(id_) for id_ in table[id_column]] if id_column else None
    for i, (query, row) in enumerate(zip(asked, read, strict=True)):
        name = given[i] if given else names.setdefault(row.digest(), f"d{len(names) + 1}")
        documents.setdefault(name, Document(name, row.text, row.page))
        if query is not None and str(query).strip():
            asked_as = queries.setdefault(str(query), f"q{len(queries) + 1}")
            relevance.setdefault(asked_as, {})[name] = 1
    return source.dataset([Query(id_, text) for text, id_ in queries.items()], list(documents.values()), relevance)


def _renamed(table: Any, found: Mapping[str, str]) -> Any:
    """Keep the found columns alone, under their names here."""
    kept = table.select_columns(list(dict.fromkeys(found.values())))
    return kept.rename_columns({column: what for what, column in found.items() if column != what})
