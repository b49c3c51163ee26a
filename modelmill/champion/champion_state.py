"""The champion of each model, and the log of every decision about it.

Each model has one object, `registry/<model>.json`, which is changed by compare-and-swap alone: of several who decide at
once, each decides on what the one before left. It names the newest entry of the log. Every entry is stored under its
digest and names the entry before it by digest, so no entry can be changed, added or left out unnoticed.
"""

import getpass
import json
import os
import socket
import time
import uuid
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
    """A registered version.

    Attributes:
        version: Version in the registry.
        model: Digest of the model's manifest.
        evaluation: Digest of the evaluation's manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: str
    model: str
    evaluation: str

    @property
    def digest(self) -> str:
        """Digest of what a comparison with it depends on, see `digest_of`."""
        return digest_of(self.model, self.evaluation)


class Standing(BaseModel):
    """The state of a model's promotion.

    Attributes:
        champion: The version in production.
        challenger: The version that was last turned down against this champion.
        previous: The version that was the champion before.
        withdrawn: Versions that a person has rolled back from; only a person makes one of them the champion again.
        withdrawn_models: Digests of their models, so that the same holds under another version.
        log: Digest of the newest entry of the log.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    champion: Candidate | None = None
    challenger: Candidate | None = None
    previous: Candidate | None = None
    withdrawn: tuple[str, ...] = ()
    withdrawn_models: tuple[str, ...] = ()
    log: str | None = None


class Decision(BaseModel):
    """An entry of the log.

    Attributes:
        what: The decision.
        version: Version that it is about, None for a model that was refused before it was registered.
        model: Digest of the version's model.
        who: Person or machine that decided.
        when: Time in seconds since 1970.
        reason: Why, in words.
        numbers: Numbers that the decision rests on.
        evidence: Digest of the evaluation that the decision rests on.
        against: Version that was the champion.
        before: Digest of the entry before this one.
        id: Tells this decision from an equal one.
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
    id: str | None = None

    @property
    def candidate(self) -> Candidate | None:
        """The version that the decision is about, as a candidate; None if it has no version, model or evidence."""
        if self.version is None or self.model is None or self.evidence is None:
            return None
        return Candidate(version=self.version, model=self.model, evaluation=self.evidence)


Change = Callable[[Standing], tuple[Standing, Decision] | None]


def decision(what: Any, candidate: Candidate, reason: str, against: Candidate | None, **more: Any) -> Decision:
    """Return a decision of whoever runs this process, made now.

    Args:
        what: The decision.
        candidate: The version that it is about.
        reason: Why, in words.
        against: The champion of this moment.
        more: Further fields of the entry.
    """
    about = {"version": candidate.version, "model": candidate.model, "evidence": candidate.evaluation}
    return _now(what=what, against=against.version if against else None, reason=reason, **about, **more)


def refuse(store: Store, name: str, model: str, evaluation: str, reason: str, numbers: dict[str, Any]) -> None:
    """Log that a model without a version may not challenge the champion, unless that is the newest entry already.

    Nothing is written where there is no champion.

    Args:
        store: Store with the log.
        name: Name of the registered model.
        model: Digest of the model's manifest.
        evaluation: Digest of the evaluation's manifest.
        reason: Why, in words.
        numbers: Numbers that the decision rests on.
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
    return Decision(who=who(), when=time.time(), id=uuid.uuid4().hex, **said)


def who() -> str:
    """Return `MODELMILL_WHO`, else the user and the machine, whose name in a container is the pod's."""
    if named := os.environ.get("MODELMILL_WHO"):
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def read(store: Store, model: str) -> Standing:
    """Return a model's state, which is empty before the first decision."""
    return _read(store, model)[0]


def digest_of(model: str, evaluation: str) -> str:
    """Return the digest of what a comparison with a champion depends on: not the version that it is registered as.

    Args:
        model: Digest of the champion's model.
        evaluation: Digest of its evaluation.
    """
    return digest.of_json({"model": model, "evaluation": evaluation})


def models(store: Store) -> list[str]:
    """Return the names of the models that decisions were made about."""
    # Claims lie below `registry/`, too, in a folder of their own.
    names = (key.removeprefix(_FOLDER) for key in store.list(_FOLDER))
    return sorted(name.removesuffix(".json") for name in names if "/" not in name)


def change(store: Store, model: str, decide: Change) -> Standing:
    """Decide on a model's state, and write the new state and the log's entry, both or neither.

    Args:
        store: Store with the state.
        model: Name of the registered model.
        decide: Function of the current state; called again whenever somebody else has changed the state meanwhile. It
            returns the new state and the entry, or None to leave everything as it is.

    Returns:
        The state afterwards.
    """
    mine: tuple[str | None, str | None] = None, None
    while True:
        standing, tag = _read(store, model)
        if _is_logged(store, model, standing.log, *mine):
            return standing  # the answer to the write was lost, and somebody else has written since
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
        mine = after.log, entry.before


def _is_logged(store: Store, model: str, newest: str | None, entry: str | None, before: str | None) -> bool:
    """Return whether the log has an entry, which followed another one."""
    if entry is None:
        return False
    for sha256, _ in _entries(store, model, newest):
        if sha256 in (entry, before):
            return sha256 == entry
    return False


def history(store: Store, model: str) -> Iterator[tuple[str, Decision]]:
    """Yield the log's entries with their digests, from the newest to the first.

    Raises:
        CorruptError: An entry is missing or has been tampered with.
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
        state = store.read(_key(model))
        return Standing.model_validate(json.loads(state.data)), state.tag
    except KeyNotFound:
        return Standing(), None
    except ValueError as error:
        raise CorruptError(f"{store.uri}: {_key(model)} is damaged: {error}") from error


def _key(model: str) -> str:
    return f"{_FOLDER}{model}.json"
