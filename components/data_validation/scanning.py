"""Passes over shards, as many at once as there are cores, and what is known of them from before."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelmill.components.data_validation import suite as suites
from modelmill.components.data_validation.merged_metrics import ScannedShard
from modelmill.components.data_validation.plan import make_plan
from modelmill.components.data_validation.scan import Pass, scan
from modelmill.components.data_validation.shard_states import ShardStates
from modelmill.core.errors import UserError
from modelmill.data.shards import Shard

Progress = Callable[[float, float, str], None]


def scan_only(found: list[Shard], suite: dict[str, Any], states: ShardStates) -> int:
    """Scan shards as a run does and keep their states; what is wrong with them is said by who judges.

    Returns:
        How many shards were read.
    """
    give_memory_back()
    first = Pass(make_plan(suites.parse(suite)), profile=True)
    with tempfile.TemporaryDirectory(prefix="modelmill-scan-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = Scan(found, Path(folder), lambda done, total, text: None, states)
        scan.all(first, first.name, may_fail=True)
    return scan.read


def give_memory_back() -> None:
    """Arrow's other allocators keep what many pieces needed; a scan's peak would grow with the number of shards."""
    import pyarrow as pa

    with contextlib.suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())


class Scan:
    """Passes over the shards, as many at once as there are cores."""

    def __init__(self, found: list[Shard], scratch: Path, progress: Progress, states: ShardStates | None) -> None:
        self._found, self._scratch, self._progress, self._states = found, scratch, progress, states
        self.read = 0
        self._done = 0

    def all(self, todo: Pass, name: str, may_fail: bool = False) -> dict[Shard, ScannedShard]:
        """Every shard's state, in order; kept and found again under `name`.

        Raises:
            UserError: a shard cannot be read, and not `may_fail`.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            futures = {
                shard: pool.submit(self._one, number, shard, todo, name, may_fail)
                for number, shard in enumerate(self._found)
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
            self.read += 1
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
        self._progress(self._done, len(self._found) + 1, f"scanning {shard.path}")
        return known
