"""Passes over all shards, as many at once as there are cores; shards that were scanned before are not read again."""

import contextlib
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelmill.components.data_validation import suite as suites
from modelmill.components.data_validation.conversations import ConversationRows
from modelmill.components.data_validation.merged_metrics import ScannedShard
from modelmill.components.data_validation.plan import make_plan
from modelmill.components.data_validation.scan import Pass, scan
from modelmill.components.data_validation.shard_states import ShardStates
from modelmill.core import limits
from modelmill.core.errors import UserError
from modelmill.data.shard import Shard

Progress = Callable[[float, float, str], None]


def scan_only(
    shards: list[Shard], suite: dict[str, Any], states: ShardStates, conversations: ConversationRows | None = None
) -> int:
    """Scan shards as a run does and keep their states, without judging them.

    Args:
        shards: The shards.
        suite: The suite as JSON.
        states: The states of scanned shards, which are added to.
        conversations: How the rows hold conversations.

    Returns:
        How many shards were read.
    """
    give_memory_back()
    first = Pass(make_plan(suites.parse(suite)), profile=True, conversations=conversations)
    with tempfile.TemporaryDirectory(prefix="modelmill-scan-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = Scan(shards, Path(folder), lambda done, total, text: None, states)
        scan.all(first, first.name, may_fail=True)
    return scan.read


def give_memory_back() -> None:
    """Let Arrow allocate with jemalloc, so that a scan's peak memory does not grow with the number of shards.

    Its other allocators keep what earlier pieces needed.
    """
    import pyarrow as pa

    with contextlib.suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())


class Scan:
    """Passes over the shards, as many at once as there are cores.

    Attributes:
        read: How many shards were read rather than found among the states; one that is read again counts once.
    """

    def __init__(self, shards: list[Shard], scratch: Path, progress: Progress, states: ShardStates | None) -> None:
        """Prepare passes over `shards`.

        Args:
            shards: The shards in their order.
            scratch: A folder for the files of value counts.
            progress: Called with the shards done, their total and a text.
            states: The states of shards that were scanned before, if they may be reused.
        """
        self._shards, self._scratch, self._progress, self._states = shards, scratch, progress, states
        self.read = 0
        self._begun = self._done = 0

    def all(self, todo: Pass, name: str, may_fail: bool = False) -> dict[Shard, ScannedShard]:
        """Return every shard's state, in order; see `each`."""
        return self.each(self._shards, todo, name, may_fail)

    def each(self, shards: list[Shard], todo: Pass, name: str, may_fail: bool = False) -> dict[Shard, ScannedShard]:
        """Return the state of some shards, in order.

        Args:
            shards: The shards.
            todo: What the pass looks for.
            name: The name under which the states are kept and found again.
            may_fail: Whether a shard that cannot be read becomes a state with its error.

        Raises:
            UserError: A shard cannot be read, and `may_fail` is false.
        """
        begun, self._begun = self._begun, self._begun + len(shards)
        with ThreadPoolExecutor(limits.cores()) as pool:
            futures = {
                shard: pool.submit(self._one, number, shard, todo, name, may_fail)
                for number, shard in enumerate(shards, start=begun)
            }
            try:
                return {shard: future.result() for shard, future in futures.items()}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, number: int, shard: Shard, todo: Pass, name: str, may_fail: bool) -> ScannedShard:
        known = self._states.find(shard, name) if self._states else None
        if known is None:
            folder = self._scratch / f"{name}-{number}"
            folder.mkdir()
            self.read += shard in self._shards  # not one that is read again for its types
            try:
                state = scan(shard, todo, folder)
            except UserError as error:
                if not may_fail:
                    raise
                return ScannedShard({}, {}, error)
            known = ScannedShard(state, {file.name: file for file in sorted(folder.iterdir())})
            if self._states:
                self._states.keep(shard, name, known)
        self._done += 1
        self._progress(self._done, self._begun + 1, f"scanning {shard.path}")
        return known
