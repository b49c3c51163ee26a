"""The report's sections about data: the dataset, its contract, quarantine, drift and splits."""

from typing import Any

from modelmill.components.reporting import words
from modelmill.components.reporting.evidence import Run, parse_json
from modelmill.runtime.run_records import DRIFT, QUARANTINE
from modelmill.store import blobs
from modelmill.store.manifest import Manifest

MOST_SHARDS = 50
SPLITS = ("train", "validation", "test")
# What a dataset and a corpus say of themselves that programs read, or that stands elsewhere.
_NO_FACTS_OF_DATA = ("columns", "left_out", "schema")
_NO_FACTS = ("splits", "task", "hygiene", "held_out", "frame", "opening")


def describe(run: Run) -> dict[str, Any] | None:
    """Return the dataset's facts, the contract, the quarantine and the drift; None where validation left nothing."""
    dataset = run.manifest("data_validation.dataset")
    validation = run.manifest("data_validation.validation")
    folder = f"runs/{run.run_id}/validation"
    result = parse_json(run.entry(validation, "result.json") or run.object(f"{folder}/result.json"))
    results = result.get("results") if isinstance(result, dict) else None
    quarantined = run.object(f"{folder}/{QUARANTINE}")
    if dataset is None and results is None and quarantined is None:
        return None
    expectations = [words.of_expectation(one) for one in results or []]
    quarantined = run.entry(validation, QUARANTINE) or quarantined
    facts = dict(dataset.info) | dict.fromkeys(_NO_FACTS_OF_DATA) | {"shards": len(dataset.entries)} if dataset else {}
    return {
        "facts": facts,
        "columns": dataset.info.get("columns", {}) if dataset else {},
        "shards": dataset.entries[:MOST_SHARDS] if dataset else [],
        "more_shards": max(len(dataset.entries) - MOST_SHARDS, 0) if dataset else 0,
        "broken": [row for row in expectations if not row["passed"]],
        "kept": [row for row in expectations if row["passed"]],
        "docs": _docs(run, validation),
        "quarantine": _left_out(quarantined, "shards"),
        "unusable": _left_out(quarantined, "files"),
        "malformed": _left_out(quarantined, "rows"),
        "drift": parse_json(run.object(f"{folder}/{DRIFT}")),
    }


def _left_out(quarantine: bytes | None, what: str) -> list[dict[str, Any]]:
    """Return what was left out: `shards` with samples of their bad rows, `files` that could not be read, or `rows`."""
    document = parse_json(quarantine)
    return document.get(what, []) if isinstance(document, dict) else []


def _docs(run: Run, validation: Manifest | None) -> dict[str, str] | None:
    """Return the Data Docs with their URI: this run's own, or those of the validation that was reused."""
    key = f"runs/{run.run_id}/validation/data_docs.html"
    page = run.object(key)
    if page is None and validation is not None:
        page = run.entry(validation, "data_docs.html")
        key = next((blobs.key_of(e.sha256) for e in validation.entries if e.path == "data_docs.html"), key)
    return {"page": page.decode("utf-8", "replace"), "uri": run.uri_of(key)} if page is not None else None


def splits_of(run: Run) -> dict[str, Any] | None:
    """Return the size of each split and how the corpus was made; None where there is no corpus."""
    corpus = run.manifest("preprocessing.corpus")
    if corpus is None:
        return None
    # A manifest's keys are in alphabetical order; people think of the splits in this one.
    splits = {name: corpus.info["splits"][name] for name in SPLITS if name in corpus.info.get("splits", {})}
    return {
        "names": list(dict.fromkeys(count for counts in splits.values() for count in counts)),
        "splits": splits,
        "facts": {k: v for k, v in corpus.info.items() if k not in _NO_FACTS},
        "hygiene": corpus.info.get("hygiene"),
    }
