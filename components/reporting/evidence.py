"""What a run left in the store, read without ever failing: missing or damaged objects read as None."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from modelmill.core.errors import CorruptError, ModelmillError
from modelmill.recipe import stored
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import run_records
from modelmill.runtime.run_records import RunRecord, StepRecord
from modelmill.store import KeyNotFound, Store, StoreError, manifest
from modelmill.store.manifest import Manifest


@dataclass(frozen=True)
class Run:
    """A run as its records and manifests tell it.

    Attributes:
        store: The store.
        run_id: The run's id.
        recipe: The resolved recipe.
        record: The run's own record, where it was started from a command line.
        steps: Records of the steps that exist, in the DAG's order.
    """

    store: Store
    run_id: str
    recipe: dict[str, Any]
    record: RunRecord | None
    steps: dict[str, StepRecord]

    @classmethod
    def read(cls, store: Store, run_id: str, recipe: str) -> "Run":
        """Read a run's records.

        Args:
            store: The store.
            run_id: The run's id.
            recipe: The recipe's key in the store.

        Raises:
            StoreError: The store does not answer.
        """
        record = run_records.read_run(store, run_id)
        return cls._read(store, run_id, _recipe_of(store, recipe) or (record.recipe if record else {}), record)

    @classmethod
    def find(cls, store: Store, run_id: str) -> "Run":
        """Read a run that was started from a command line; its record has the recipe."""
        record = run_records.read_run(store, run_id)
        return cls._read(store, run_id, record.recipe if record else {}, record)

    @classmethod
    def _read(cls, store: Store, run_id: str, recipe: dict[str, Any], record: RunRecord | None) -> "Run":
        records = {name: run_records.read_step(store, run_id, name) for name in STEPS}
        return cls(store, run_id, recipe, record, {name: one for name, one in records.items() if one is not None})

    @property
    def resume(self) -> str:
        """The command that continues this run; finished steps are found and not run again."""
        if self.record:
            return self.record.resume
        # KFP starts a cluster's run, and the user's recipe file most likely has the recipe's name.
        return shlex.join(["modelmill", "run", f"{self.recipe.get('name', 'recipe')}.yaml", "--store", self.store.uri])

    def manifest(self, output: str) -> Manifest | None:
        """Return the manifest of an output, named `step.output`."""
        step, name = output.split(".")
        sha256 = self.steps[step].outputs.get(name) if step in self.steps else None
        try:
            return manifest.load(self.store, sha256) if sha256 else None
        except CorruptError:
            return None

    def entry(self, made: Manifest | None, path: str) -> bytes | None:
        """Return the bytes of one of a manifest's files."""
        entry = next((e for e in made.entries if e.path == path), None) if made else None
        try:
            return manifest.read_entry(self.store, entry) if entry else None
        except CorruptError:
            return None

    def object(self, key: str) -> bytes | None:
        """Return the bytes of an object."""
        try:
            return self.store.get(key)
        except KeyNotFound:
            return None

    def uri_of(self, key: str) -> str:
        """Return where a person finds an object: a file where the store is a folder."""
        local = self.store.local_path(key)
        return local.as_uri() if local else f"{self.store.uri.rstrip('/')}/{key}"


def _recipe_of(store: Store, key: str) -> dict[str, Any]:
    """Return the recipe under a key; empty if there is none or it is damaged, which the steps have said."""
    try:
        settings = parse_json(stored.read(store, key))
    except StoreError:
        raise
    except ModelmillError:
        settings = None
    return settings if isinstance(settings, dict) else {}


def parse_json(data: bytes | str | None) -> Any:
    """Return the JSON value, or None for no bytes or damaged ones."""
    try:
        return json.loads(data) if data is not None else None
    except ValueError:
        return None


def parse_lines(data: bytes | None) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file, without lines that are none."""
    values = (parse_json(line) for line in (data or b"").splitlines())
    return [value for value in values if isinstance(value, dict)]
