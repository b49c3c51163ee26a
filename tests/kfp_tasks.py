"""The tasks of a run as KFP 2.17 lists them: each node of its Workflow, of which a step has six."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import kfp_server_api as api

# Beyond this Argo stores nodes compressed, and KFP reads none of them any more.
LARGEST_NODES = 1 << 20
# The end of a task that has not ended, and of a run that has not.
NEVER = datetime(1, 1, 1, tzinfo=UTC)
NOT_YET = datetime(1970, 1, 1, tzinfo=UTC)


def details(run_id: str, states: dict[str, str]) -> list[api.V2beta1PipelineTaskDetail]:
    """Tasks of a run by the states of its steps, mixed as KFP mixes them, by an id that is random."""
    goes_on = "RUNNING"
    nodes = [("tabular-mlp-sc5d9", goes_on), ("root", goes_on), ("exit-handler-1", goes_on)]
    nodes += [("root-driver", "SUCCEEDED"), ("exit-handler-1-driver", "SUCCEEDED")]
    for name, state in states.items():
        nodes += _nodes(name.replace("_", "-"), state)
    # Each has an attempt, which is a task of its own.
    tasks = [_task(run_id, name + attempt, state) for name, state in nodes for attempt in ("", "(0)")]
    return sorted(tasks, key=lambda task: str(task.task_id))


def _nodes(step: str, state: str) -> Iterator[tuple[str, str]]:
    """A step's own node, its driver and, once that has ended, what executes it."""
    if state in {"SKIPPED", "PENDING"}:
        yield step, state
        return
    yield f"{step}-driver", "SUCCEEDED"
    yield step, state
    yield "executor", state


def _task(run_id: str, name: str, state: str) -> api.V2beta1PipelineTaskDetail:
    now = datetime.now(UTC)
    return api.V2beta1PipelineTaskDetail(
        run_id=run_id,
        task_id=str(uuid.uuid4()),
        display_name=name,
        create_time=now,
        start_time=now,
        end_time=NEVER if state in {"PENDING", "RUNNING"} else now,
        state=state,
        state_history=[api.V2beta1RuntimeStatus(state=state, update_time=now)],
        child_tasks=[api.PipelineTaskDetailChildTask(pod_name=f"tabular-mlp-sc5d9-{uuid.uuid4().int % 10**9}")],
    )
