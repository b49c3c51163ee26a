"""What was judged of data, and Great Expectations' verdict on it."""

from typing import Any, NamedTuple

from modelmill.components.data_validation import data_docs, verdict
from modelmill.components.data_validation.profile import Profile
from modelmill.components.data_validation.quarantine import LeftOut
from modelmill.components.data_validation.verdict import Dropped
from modelmill.store.manifest import Manifest


class Judgement(NamedTuple):
    """What was judged, and Great Expectations' verdict on it.

    Attributes:
        dataset: Manifest of the shards where they lie.
        result: Great Expectations' result as JSON, without times and ids.
        scanned: How many shards were read, because their state was not known.
        left_out: Quarantined shards.
        profile: The columns' distributions, if they were asked for.
        unusable: Rows of manifests whose image or recording is missing or broken, with `shard`, `row` (from 1), `file`
            and `why`.
        malformed: Rows that are no conversation of their format, with `shard`, `row` (from 1), `why` and `sample`.
        dropped: Numbers of the rows that are left out, from 1, by shard.
        refused: A line for each expectation that is not supported for the types of the data.
    """

    dataset: Manifest
    result: dict[str, Any]
    scanned: int
    left_out: list[LeftOut]
    profile: Profile | None
    unusable: list[dict[str, Any]]
    malformed: list[dict[str, Any]]
    dropped: Dropped
    refused: list[str]

    @property
    def success(self) -> bool:
        """Whether the data keeps every expectation."""
        return bool(self.result["success"])

    def explain(self) -> str:
        """Return why the data did not pass, on one line."""
        return verdict.explain(self.result, self.dataset.entries, self.dropped)

    def findings(self) -> list[tuple[bool, str, str]]:
        """Return for each expectation whether it holds, its name with its columns, and what was observed."""
        shards = self.dataset.entries
        results = self.result["results"]
        return [(r["success"], verdict.name(r), verdict.finding(r, shards, self.dropped)) for r in results]

    def data_docs(self) -> bytes:
        """Return Great Expectations' Data Docs as one HTML page."""
        return data_docs.render(self.result).encode()
