"""Which version of a model is the champion, and the log of every decision about it.

One object a model, `registry/<model>.json`, changed by compare-and-swap alone, so that of many who decide at once each
decides on what the one before left. It names the newest entry of the log; every entry names the one before by its
digest, and is stored under its own: no entry can be changed, added or left out unnoticed.
"""

import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.store import KeyNotFound, Store, blobs

NOBODY = "none"
_FOLDER = "registry/"


class Candidate(BaseModel):
    """A registered version; `model` and `evaluation` are the digests of the manifests it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: str
    model: str
    evaluation: str


class Standing(BaseModel):
    """`challenger` is the version that was last turned down against this champion. `withdrawn` are versions that a
    person has rolled back from, and `withdrawn_models` the models that they are: only a person makes one of them the
    champion again, under whatever version. `log` is the digest of the newest entry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    champion: Candidate | None = None
    challenger: Candidate | None = None
    previous: Candidate | None = None
    withdrawn: tuple[str, ...] = ()
    withdrawn_models: tuple[str, ...] = ()
    log: str | None = None


class Decision(BaseModel):
    """An entry of the log. `when` is in seconds since 1970; `model` and `evidence` are the digests of the version's
    model and of the evaluation that the decision rests on; `against` is the version that was the champion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: Literal["promoted", "registered", "refused", "rolled back"]
    version: str | None
    model: str | None = None
    who: str
    when: float
    reason: str
    numbers: dict[str, Any] = {}
    evidence: str | None = None
    against: str | None = None
    before: str | None = None

    @property
    def candidate(self) -> Candidate | None:
        """The version that it is about."""
        if self.version is None or self.model is None or self.evidence is None:
            return None
        return Candidate(version=self.version, model=self.model, evaluation=self.evidence)


Change = Callable[[Standing], tuple[Standing, Decision] | None]


def decision(what: Any, candidate: Candidate, reason: str, against: Candidate | None, **more: Any) -> Decision:
    """A decision of whoever runs this process, now, about a candidate and the champion that it found."""
    about = {"version": candidate.version, "model": candidate.model, "evidence": candidate.evaluation}
    return _now(what=what, against=against.version if against else None, reason=reason, **about, **more)


def refuse(store: Store, name: str, model: str, evaluation: str, reason: str, numbers: dict[str, Any]) -> None:
    """Write into the log that a model may not challenge the champion, and why; it has no version, and once is enough.

    Nothing is written where there is no champion.

    Args:
        name: the registered model's. model, evaluation: digests of the manifests.
    """

    def note(now: Standing) -> tuple[Standing, Decision] | None:
        if now.champion is None or any(
            one.evidence == evaluation for _, one in islice(_entries(store, name, now.log), 1)
        ):
            return None
        about = {"version": None, "model": model, "evidence": evaluation, "against": now.champion.version}
        return now, _now(what="refused", reason=reason, numbers=numbers, **about)

    change(store, name, note)


def _now(**said: Any) -> Decision:
    return Decision(who=who(), when=time.time(), **said)


def who() -> str:
    """`MODELMILL_WHO`, else the user and the machine; in a container the pod's name is the machine's."""
    if named := os.environ.get("MODELMILL_WHO"):
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def read(store: Store, model: str) -> Standing:
    """How things stand; nobody is anything before the first decision."""
    return _read(store, model)[0]


def digest_of(champion: Candidate | None) -> str:
    """What a comparison with the champion depends on."""
    return digest.of_json(champion.model_dump()) if champion else NOBODY


def models(store: Store) -> list[str]:
    """The names of the models that decisions were made about."""
    # Claims lie below `registry/`, too, in a folder of their own.
    names = (key.removeprefix(_FOLDER) for key in store.list(_FOLDER))
    return sorted(name.removesuffix(".json") for name in names if "/" not in name)


def change(store: Store, model: str, decide: Change) -> Standing:
    """Decide on the current standing and write down what was decided, both or neither.

    Args:
        decide: called with each standing that is found until its answer is written before another's; None leaves
            everything as it is.
    Returns:
        The standing afterwards.
    """
    while True:
        standing, tag = _read(store, model)
        decided = decide(standing)
        if decided is None:
            return standing
        after, entry = decided
        entry = entry.model_copy(update={"before": standing.log})
        after = after.model_copy(update={"log": blobs.put_bytes(store, digest.canonical_json(entry.model_dump()))})
        data = digest.canonical_json(after.model_dump())
        written = (
            store.put_if_absent(_key(model), data) if tag is None else store.compare_and_swap(_key(model), data, tag)
        )
        if written:
            return after


def history(store: Store, model: str) -> Iterator[tuple[str, Decision]]:
    """The log from the newest entry to the first, with their digests.

    Raises:
        CorruptError: an entry is missing or has been tampered with.
    """
    yield from _entries(store, model, read(store, model).log)


def _entries(store: Store, model: str, newest: str | None) -> Iterator[tuple[str, Decision]]:
    while newest is not None:
        try:
            entry = Decision.model_validate_json(blobs.get_bytes(store, newest))
        except (CorruptError, ValidationError) as error:
            raise CorruptError(f"{model}: entry {newest} of the log of decisions is damaged: {error}") from error
        yield newest, entry
        newest = entry.before


def _read(store: Store, model: str) -> tuple[Standing, str | None]:
    try:
        found = store.read(_key(model))
        return Standing.model_validate(json.loads(found.data)), found.tag
    except KeyNotFound:
        return Standing(), None
    except ValueError as error:
        raise CorruptError(f"{store.uri}: {_key(model)} is damaged: {error}") from error


def _key(model: str) -> str:
    return f"{_FOLDER}{model}.json"
