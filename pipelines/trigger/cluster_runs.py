"""Runs on a cluster as triggers need them: submitted, and asked how they go."""

import threading
import time
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import cancelling, lost, placement, reach, settings, submitting
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.trigger.asking import Starter, State, state_in
from modelmill.pipelines.trigger.claims import Asker
from modelmill.recipe import Recipe
from modelmill.store import Store

# For so long what KFP has said of a run is believed, so that many duplicate triggers ask it once.
_BELIEVED_SECONDS = 5.0
_STATES: dict[str, State] = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELED": "failed", "SKIPPED": "failed"}


class ClusterRuns:
    """Runs of one cluster.

    Args:
        cluster: The cluster.
        store: The cluster's store.
        file: The cluster's file, for the command that resumes a run.
    """

    def __init__(self, cluster: Cluster, store: Store, file: Path) -> None:
        """Know of no run yet."""
        self._cluster, self._store, self._file = cluster, store, file
        self._asking = threading.Lock()
        self._known: dict[str, tuple[float, State]] = {}

    def submit(self, recipe: Recipe, asker: Asker) -> str:
        """Start a run and return its id. Who asked and why is in its record and in KFP's description.

        Nobody waits for a run that only an event, a poll, a schedule or an alarm has asked for.

        Args:
            recipe: The resolved recipe.
            asker: Who asks, and why.
        """
        priority = placement.INTERACTIVE if asker.kind == "manual" else placement.SCHEDULED
        reason = f"{asker.kind}: {asker.reason}"
        return submitting.submit(recipe, self._cluster, asker.by, reason, self._file, priority=priority).run_id

    def state_of(self, run_id: str) -> State:
        """Return a run's state by its outcome in the store, else by KFP, which also knows of cancelled runs."""
        left = state_in(self._store, run_id)
        if left != "running":
            return left
        with self._asking:
            at, state = self._known.get(run_id, (0.0, left))
            if time.monotonic() - at > _BELIEVED_SECONDS or not at:
                state = self._ask(run_id)
                self._known = {run_id: (time.monotonic(), state)}
            return state

    def cancel(self, run_id: str, by: str) -> list[str]:
        """Cancel a run, as `modelmill cancel` does; return what could not be done.

        Args:
            run_id: The run.
            by: Who cancels it.
        """
        return cancelling.cancel(run_id, self._cluster, by).notes

    def _ask(self, run_id: str) -> State:
        """Return a run's state by KFP; a run that is lost, or was deleted there, goes on no longer."""
        import kfp_server_api as api

        with clients.connected(self._cluster) as client:
            try:
                run = clients.retried(lambda: client.get_run(run_id))
                return "failed" if lost.is_lost(run, lambda: self._store) else _STATES.get(run.state, "running")
            except api.ApiException as error:
                if error.status == 404:
                    return "failed"
                raise


def starter_of(file: Path, cool_down: float) -> Starter:
    """Return what starts runs on the cluster of a file: its store, and KFP to submit to.

    Args:
        file: the cluster's file.
        cool_down: seconds from a run of a recipe to the next, for other data.

    Raises:
        UserError: the file is wrong, or the store cannot be reached from here.
    """
    cluster = settings.load(file)
    # The data of recipes are in the same place, and are listed with what the environment says.
    reach.adopt(cluster)
    store, why = reach.store_of(cluster)
    if store is None:
        raise UserError(f"{file}: store {cluster.store}: {why}")
    known = ClusterRuns(cluster, store, file)
    return Starter(store, known.submit, known.state_of, cool_down, known.cancel)
