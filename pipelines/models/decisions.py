"""The log of decisions about a model, checked against what MLflow has witnessed."""

from collections.abc import Iterator

from modelmill.champion import champion_state
from modelmill.champion.champion_state import Decision
from modelmill.core.errors import CorruptError
from modelmill.runtime.tracking import Version
from modelmill.runtime.tracking.versions import WITNESS
from modelmill.store import Store


def checked(store: Store, model: str, known: list[Version]) -> Iterator[tuple[str, Decision]]:
    """Yield each decision with its digest, newest first, then check that none was cut off.

    Args:
        store: Where the log is.
        model: The registered model's name.
        known: The model's versions, read before the log: the log only grows.

    Raises:
        CorruptError: An entry was changed, or one that MLflow has witnessed is gone.
    """
    digests = set()
    for digest, entry in champion_state.history(store, model):
        digests.add(digest)
        yield digest, entry
    for version in known:
        witness = version.tags.get(WITNESS)
        if witness is not None and witness not in digests:
            raise CorruptError(
                f"{model}: MLflow's version {version.version} names entry {witness} of the log of "
                "decisions, which the log does not have: entries were cut off, or the standing was put back"
            )
