"""What of a store is in use, and what nobody reaches any more.

| Keys | What | In use |
|---|---|---|
| `registry/` | standings with their log | always, with the candidates that a standing names |
| `recipes/` | recipes that runs and schedules were started with | always |
| `images/` | what runs a step in an image | always |
| `references/`, `fitted/`, any other | what was fitted once | always, with all they name |
| versions in MLflow | their tags | always, with all they name |
| `runs/ID/` | records, reports, logs | always; what they name, while one changed in the last days |
| `memo/STEP/KEY.json` | a finished step | recent, of a run in use or a registered version, or all it names is in use |
| `memo/STEP/last/` | what a recipe's step was made from | always |
| `states/`, `encoded/` | scanned and encoded shards | recent, wanted by a running step, or all it names is in use |
| `teachers/` | what a teacher makes of a shard | as encoded shards |
| `reference_scores/` | scores of answers under a reference | as `encoded/` |
| `checkpoints/KEY/` | of a training | recent and not finished, or of a run in use |
| `probe/` | left by a check that was killed | no |
| `blobs/` | bytes | named by anything in use, directly or through manifests and the log of decisions |

"Names" are 64 hex digits anywhere in a JSON document, so what a later version writes is followed, too. A manifest's
entries are files, and not followed; everything else that it names is. An entry of the log keeps the entry before it,
not the model that it is about: the one that was refused is in no version. When in doubt, something is in use.
"""

import contextlib
import itertools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from modelmill.champion.champion_state import Decision
from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.runtime import run_records, tracking
from modelmill.runtime.memo import Finished
from modelmill.runtime.run_records import StepRecord
from modelmill.store import KeyNotFound, Stat, Store, blobs, manifest
from modelmill.store.retention import GRACE_SECONDS, KEY

# Which step finds what under these.
CACHES = {
    "states": "data_validation",
    "encoded": "preprocessing",
    "reference_scores": "fine_tuning",
    "teachers": "fine_tuning",
}
_KNOWN = {"blobs", "memo", "images", "runs", "recipes", "checkpoints", "probe", KEY, *CACHES}
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_RECORD = re.compile(r"runs/[^/]+/steps/[^/]+\.json")
_THREADS = 16
T = TypeVar("T")


class Names(NamedTuple):
    """Digests that a document holds: of files, and of whatever else."""

    files: set[str]
    others: set[str]


class Entry(NamedTuple):
    """An entry of the memo, or of the shards that are kept.

    Attributes:
        is_recent: Whether it is in use because of its age, or of what made it.
        outputs: Manifests that it names.
        files: Blobs that it names.
    """

    is_recent: bool
    outputs: set[str] = set()
    files: set[str] = set()


class Reachable:
    """Objects of a store that are in use. `look` may be called again, and then sees what has come into use since.

    `objects` are the store's as they were at the beginning.

    Args:
        store: The store.
        keep_seconds: How long a run's work is in use after its records changed last; a day at least.

    Raises:
        UserError: No registry is configured.
        ModelmillError: The registry does not answer.
        CorruptError: A manifest in use is damaged.
    """

    def __init__(self, store: Store, keep_seconds: float) -> None:
        """Read the store and the registry, and look for the first time."""
        self._store = store
        self._registry = tracking.identity(store)
        now = time.time()
        self._grace = now - GRACE_SECONDS
        self._since = min(self._grace, now - keep_seconds)
        self.objects = dict(store.stats(""))
        self._blobs = {key.rpartition("/")[2] for key in self.objects if key.startswith("blobs/")}
        self._named: set[str] = set()
        self._followed: set[str] = set()
        self._versions: set[tuple[str, str]] = set()
        self._step_keys: set[str] = set()
        self._starting: set[str] = set()
        self._at_work: set[str] = set()
        self._follow_registry()
        self._follow_others()
        named = [key for kind in ("memo", *CACHES) for key in self._under(kind)]
        self._entries = dict(zip(named, self._pooled(self._read_entry, named), strict=True))
        self._finished = {name for name in map(_step_key, self._under("memo")) if name}
        self.look()

    def look(self) -> None:
        """See which runs and steps there are now, and follow what they name or could find."""
        for record, is_fresh in self._records():
            self._step_keys.add(record.key)
            if record.status == "running" and is_fresh:
                self._at_work.add(record.name)
                if not record.key:
                    self._starting.add(record.name)
            self._follow(record.outputs.values())
        for key, entry in self._entries.items():
            if entry.is_recent or self._is_wanted(key):
                self._named |= entry.files
                self._follow(entry.outputs)

    def leftovers(self) -> list[list[str]]:
        """Return keys that nothing reaches, in groups to be deleted one after the other.

        What names others goes first.
        """
        documents = [key for key in self._entries if not self.keeps(key)]
        documents += [key for kind in ("checkpoints", "probe") for key in self._under(kind) if not self.keeps(key)]
        outputs = {name for key in documents if key in self._entries for name in self._entries[key].outputs}
        unnamed = self._blobs - self._named
        manifests, files = sorted(unnamed & outputs), sorted(unnamed - outputs)
        return [documents, [blobs.key_of(sha256) for sha256 in manifests], [blobs.key_of(sha256) for sha256 in files]]

    def keeps(self, key: str) -> bool:
        """Return whether the key is in use, as far as was seen when `look` was called last."""
        kind, _, rest = key.partition("/")
        if kind == "blobs":
            return rest.rpartition("/")[2] in self._named
        if key in self._entries:
            entry = self._entries[key]
            return entry.is_recent or self._is_wanted(key) or entry.outputs | entry.files <= self._named
        if kind == "checkpoints":
            return self._keeps_checkpoints_of(rest.partition("/")[0])
        return kind != "probe"

    def is_old(self, stat: Stat | None) -> bool:
        """Return whether an object is there, and older than anything that is being written."""
        return stat is not None and stat.modified < self._grace

    def _is_wanted(self, key: str) -> bool:
        """Return whether a step that begins could use it, or a run in use has used it."""
        kind, _, rest = key.partition("/")
        if kind in CACHES:
            return CACHES[kind] in self._at_work
        return rest.partition("/")[0] in self._starting or _step_key(key) in self._step_keys

    def _keeps_checkpoints_of(self, step_key: str) -> bool:
        """Return whether a training's checkpoints are kept.

        One that was given up may be gone on with for as long as its run counts; one that is finished may not.
        """
        if step_key in self._step_keys:
            return True
        ages = [stat.modified for _, stat in self._store.stats(f"checkpoints/{step_key}/")]
        return max(ages, default=0) >= (self._grace if step_key in self._finished else self._since)

    def _records(self) -> Iterator[tuple[StepRecord, bool]]:
        """Yield the records of runs in use, and whether each was changed within the grace period."""
        ages = [(key, stat.modified) for key, stat in self._store.stats("runs/") if _RECORD.fullmatch(key)]
        for run_id, records in itertools.groupby(ages, lambda one: one[0].split("/")[1]):
            of_run = list(records)
            if max(age for _, age in of_run) < self._since:
                continue
            for key, age in of_run:
                with contextlib.suppress(ValueError):  # a record that is damaged names nothing
                    record = run_records.read_step(self._store, run_id, key.rpartition("/")[2].removesuffix(".json"))
                    if record is not None:
                        yield record, age >= self._grace

    def _follow_registry(self) -> None:
        for version in tracking.registered(self._store):
            self._follow(_SHA256.findall(" ".join(version.tags.values())))
            self._versions.add((version.name, version.version))

    def _follow_others(self) -> None:
        for key in self.objects:
            if key.partition("/")[0] not in _KNOWN:
                with contextlib.suppress(KeyNotFound):
                    self._follow(_SHA256.findall(self._store.get(key).decode("utf-8", "replace")))

    def _follow(self, documents: Iterable[str]) -> None:
        """Note what these name, and what that names."""
        level = set(documents) - self._followed
        while level:
            self._followed |= level
            self._named |= level
            level_names = self._pooled(self._names_in, sorted(level))
            self._named |= {name for names in level_names for name in names.files}
            level = {name for names in level_names for name in names.others} - self._followed

    def _names_in(self, sha256: str) -> Names:
        """Return what a blob names, if it is a JSON object.

        Raises:
            CorruptError: Its bytes have changed.
        """
        try:
            with self._store.open(blobs.key_of(sha256)) as stream:
                data = stream.read(1)
                if data != b"{":
                    return Names(set(), set())
                data += stream.read()
        except KeyNotFound:
            return Names(set(), set())
        if digest.of_bytes(data) != sha256:
            raise CorruptError(
                f"{self._store.uri}: blob {sha256} is in use and does not have the bytes it is named after; nothing is "
                "deleted, since what it named is not known; restore it, or delete that blob and run its recipe again"
            )
        return _names(data)

    def _read_entry(self, key: str) -> Entry:
        is_recent = self.objects[key].modified >= self._since
        try:
            data = self._store.get(key)
            if not key.startswith("memo/"):
                return Entry(is_recent, files=set(_SHA256.findall(data.decode())))
            if not _step_key(key):
                return Entry(is_recent=True)  # what a recipe's step was last made from
            finished = Finished.model_validate_json(data)
        except (KeyNotFound, ValueError):
            return Entry(is_recent=True)
        elsewhere = finished.document["inputs"].get("source.registry", self._registry) != self._registry
        outputs = set(finished.outputs.values())
        is_registration = finished.document["step"] == "registration"
        is_registered = is_registration and any(map(self._is_registered, outputs))
        return Entry(is_recent or elsewhere or is_registered, outputs)

    def _is_registered(self, sha256: str) -> bool:
        """Return whether it is the manifest of a version that the registry still has."""
        try:
            info = manifest.load(self._store, sha256).info
        except CorruptError:
            return False
        return (info.get("name"), info.get("version")) in self._versions

    def _under(self, kind: str) -> list[str]:
        return [key for key in self.objects if key.startswith(f"{kind}/")]

    def _pooled(self, function: Callable[[str], T], keys: Iterable[str]) -> list[T]:
        """Return the function of each key; a store that is far away answers many at once."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(function, keys))


def _step_key(key: str) -> str:
    """Return the step's key in the key of a memo entry; empty for another key."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return name if _SHA256.fullmatch(name) else ""


def _names(data: bytes) -> Names:
    """Return the digests in a JSON document.

    A manifest's entries are files, and an entry of the log of decisions keeps only the log.
    """
    try:
        document: dict[str, Any] = json.loads(data)
    except ValueError:
        return Names(set(), set())
    if document.keys() == Decision.model_fields.keys():
        return Names(set(), {document["before"]} - {None})
    entries = document.pop("entries", []) if "kind" in document else []
    return Names(set(_SHA256.findall(json.dumps(entries))), set(_SHA256.findall(json.dumps(document))))
