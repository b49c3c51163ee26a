"""Where a registered version came from, back to its shards, and which versions a shard went into."""

import time
from pathlib import Path
from typing import Any

from modelmill.core import digest
from modelmill.core.errors import CorruptError, UserError
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import memo, run_records
from modelmill.runtime.memo import Finished
from modelmill.runtime.tracking import Version
from modelmill.store import Store, manifest
from modelmill.store.manifest import Entry, Manifest

# The tags of a version, `modelmill.<name>`, and the outputs whose manifests they name by digest.
OUTPUTS = {
    "model": "fine_tuning.model",
    "evaluation": "evaluation.evaluation",
    "validation": "data_validation.validation",
    "dataset": "data_validation.dataset",
}
# What `made_from` calls a dataset in a validation's manifest.
_OTHER_NAMES = {"dataset": OUTPUTS["dataset"]}
_DIGEST_CHARACTERS = 64
_NOTHING = "none"


def of_version(store: Store, version: Version) -> dict[str, Any]:
    """Return everything that is recorded of how a version came to be; what is not, or no longer, is None.

    `made_from` is a tree: what each output was made from, down to the data. An output that comes up again has its
    digest alone.
    """
    tags = {name.removeprefix("modelmill."): value for name, value in version.tags.items()}
    run_id = tags.get("run_id")
    run = run_records.read_run(store, run_id) if run_id else None
    past = _Past(store, run_id)
    registration = past.step_of_run("registration")
    return {
        "model": version.name,
        "version": version.version,
        "aliases": version.aliases,
        "verified": version.is_verified,
        "registered": version.created,
        "key": tags.get("key"),
        "code": tags.get("code"),
        "recipe": tags.get("recipe"),
        "settings": run.recipe if run else None,
        "run": {"run_id": run_id, "started": run.started if run else None, "command": run.resume if run else None},
        "where": registration.where if registration else None,
        "made_from": [past.trace(output, tags[tag]) for tag, output in OUTPUTS.items() if tag in tags],
    }


class _Past:
    """What the store remembers, as a run saw it."""

    def __init__(self, store: Store, run_id: str | None) -> None:
        self._store, self._run_id = store, run_id
        self._seen: set[str] = set()
        self._made: dict[str, dict[str, Finished]] = {}

    def step_of_run(self, step: str) -> Finished | None:
        """Return the step as the run has made or reused it."""
        record = run_records.read_step(self._store, self._run_id, step) if self._run_id else None
        return memo.with_key(self._store, step, record.key) if record else None

    def trace(self, output: str, sha256: str) -> dict[str, Any]:
        """Return one output and what it was made from."""
        traced: dict[str, Any] = {"output": output, "digest": sha256}
        if output.startswith("source.") or sha256 in self._seen:
            return traced
        self._seen.add(sha256)
        finished = self._finished(output, sha256)
        if finished is not None:
            traced |= {
                "key": memo.key_of(finished.document),
                "headline": finished.headline,
                "code": finished.document["code"],
                "settings": finished.document["settings"],
                "seconds": finished.seconds,
                "device": finished.metrics.get("device"),
                "where": finished.where or None,
            }
        made = _load(self._store, sha256)
        traced["manifest"] = {"kind": made.kind, "info": made.info} if made else None
        if made is not None and made.kind == "dataset":
            traced["shards"] = [entry.model_dump() for entry in made.entries]
        inputs = dict(made.made_from) if made else {}
        if output == OUTPUTS["dataset"] and finished is not None:
            inputs = finished.document["inputs"]
        inputs = {_OTHER_NAMES.get(name, name): value for name, value in inputs.items() if value != _NOTHING}
        traced["made_from"] = [self.trace(name, value) for name, value in inputs.items() if name != "suite"]
        if "suite" in inputs:
            traced["suite"] = inputs["suite"]
        return traced

    def _finished(self, output: str, sha256: str) -> Finished | None:
        """Return what is remembered of the step that made this: what the run saw, else any entry that names it."""
        step, _, name = output.partition(".")
        if step not in STEPS:
            return None
        known = self.step_of_run(step)
        if known is not None and known.outputs.get(name) == sha256:
            return known
        if step not in self._made:
            names = [key.rpartition("/")[2].removesuffix(".json") for key in self._store.list(f"memo/{step}/")]
            keys = [name for name in names if len(name) == _DIGEST_CHARACTERS]
            entries = [entry for key in keys if (entry := memo.with_key(self._store, step, key))]
            self._made[step] = {made: entry for entry in entries for made in entry.outputs.values()}
        return self._made[step].get(sha256)


def of_shard(store: Store, asked: str, versions: list[Version]) -> dict[str, Any]:
    """Return the registered versions that a shard went into.

    Args:
        store: Where the datasets are.
        asked: The shard's SHA-256, a file, or the path that a dataset knows it by.
        versions: The versions to look at.

    Returns:
        `shard`, `sha256` (None where only a path is known), `versions`, and `unknown`: versions whose datasets are
        not in this store. Where a dataset has a shard of this name with other bytes, `same` is False; None where that
        cannot be said, as of a manifest, whose files count too.

    Raises:
        UserError: There is no such file, and no dataset knows the path or the digest.
    """
    sha256 = _digest_of(asked)
    uses: list[dict[str, Any]] = []
    unknown: list[dict[str, str]] = []
    datasets: dict[str, Manifest | None] = {}
    for version in versions:
        dataset = version.tags.get("modelmill.dataset", "")
        if dataset not in datasets:
            datasets[dataset] = _load(store, dataset) if dataset else None
        made = datasets[dataset]
        if made is None:
            unknown.append({"model": version.name, "version": version.version})
            continue
        uses += [
            {
                "model": version.name,
                "version": version.version,
                "aliases": version.aliases,
                "dataset": dataset,
                "path": entry.path,
                "sha256": entry.sha256,
                "rows": entry.rows,
                "same": entry.sha256 == sha256 if sha256 and not made.info.get("media") else None,
            }
            for entry in made.entries
            if _is_asked_for(entry, asked, sha256)
        ]
    if not uses and not Path(asked).is_file():
        paths = dict.fromkeys(entry.path for made in datasets.values() if made for entry in made.entries)
        known = ", ".join(list(paths)[:5]) or "none"
        raise UserError(f"--shard {asked}: no such file, and no registered version knows it; they know: {known}")
    return {"shard": asked, "sha256": sha256, "versions": uses, "unknown": unknown}


def _digest_of(asked: str) -> str | None:
    """Return the digest that is asked for, or that of a file; None of a path that is no file.

    Raises:
        UserError: It is a file that cannot be read.
    """
    if len(asked) == _DIGEST_CHARACTERS and not set(asked.lower()) - set("0123456789abcdef"):
        return asked.lower()
    try:
        return digest.of_file(Path(asked)) if Path(asked).is_file() else None
    except OSError as error:
        raise UserError(f"--shard {asked}: cannot be read ({error.strerror})") from error


def _is_asked_for(entry: Entry, asked: str, sha256: str | None) -> bool:
    """Return whether an entry is the shard, by its bytes or by its name.

    A dataset's paths begin where its data does.
    """
    return entry.sha256 == sha256 or f"/{asked}".endswith(f"/{entry.path}")


def _load(store: Store, sha256: str) -> Manifest | None:
    try:
        return manifest.load(store, sha256)
    except CorruptError:
        return None


def date(seconds: float) -> str:
    """Return a time in seconds since 1970 as a date for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
