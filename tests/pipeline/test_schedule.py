"""`modelmill schedule` against a KFP API server: two applies, replacing, pausing, interruptions, what is not ours."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest
import yaml

from modelmill.core.errors import ModelmillError, UserError
from modelmill.pipelines.cluster import applying
from modelmill.recipe import stored
from modelmill.store import open_store
from tests import cli
from tests.kfp_server import KfpServer, Request, serving_kfp
from tests.recipes import table_recipe
from tests.seaweedfs import SeaweedFS


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with serving_kfp(page_size=2) as serving:
        yield serving


@pytest.fixture
def place(tmp_path: Path, server: KfpServer, seaweedfs: SeaweedFS, bucket: str) -> "Place":
    return Place(tmp_path, server, f"{bucket}/store", seaweedfs.env)


class Place:
    """A folder with a recipe, a cluster file and a schedules file; `env` reaches the cluster's store."""

    def __init__(self, folder: Path, server: KfpServer, store: str, env: dict[str, str]) -> None:
        self.folder, self.server, self.store, self.env = folder, server, store, env
        self.file, self.cluster = folder / "schedules.yaml", folder / "cluster.yaml"
        self.recipe(steps=10)
        (folder / "profiles.yaml").write_text("profiles: {cpu: {cpu: '1'}}\n")
        self.describe()

    def describe(self, **kfp: Any) -> None:
        document = {"kfp": {"host": self.server.url, **kfp}, "store": self.store, "mlflow": "http://mlflow"}
        self.cluster.write_text(yaml.safe_dump(document))

    def recipe(self, steps: int) -> None:
        written = table_recipe(self.folder, Path("/data"), data__path="s3://bucket/data", fine_tuning__steps=steps)
        written.rename(self.folder / "recipe.yaml")

    def write(self, **changes: dict[str, Any]) -> None:
        entries = [
            {"name": name, "recipe": "recipe.yaml", "cron": "30 3 * * *", **own} for name, own in changes.items()
        ]
        self.file.write_text(yaml.safe_dump({"schedules": entries}))

    def apply(self) -> list[str]:
        return [f"{one.action} {one.schedule}" for one in applying.apply(self.file, self.cluster)]

    def diff(self) -> list[str]:
        return [f"{one.action} {one.schedule}" for one in applying.compare(self.file, self.cluster)]

    @property
    def runs(self) -> dict[str, api.V2beta1RecurringRun]:
        return self.server.recurring_runs

    def lines(self) -> list[tuple[str, str, str]]:
        return sorted((run.display_name, run.trigger.cron_schedule.cron, run.status) for run in self.runs.values())


def _writes(server: KfpServer) -> list[Request]:
    return [one for one in server.requests if one.method != "GET"]


def test_two_applies_change_nothing_the_second_time_over_pages(place: Place) -> None:
    place.write(a={}, b={"enabled": False}, c={"cron": "@hourly", "max_concurrency": 3, "catch_up": True})
    assert place.diff() == ["create a", "create b", "create c"]
    assert _writes(place.server) == []
    assert place.apply() == ["create a", "create b", "create c"]
    assert place.lines() == [
        ("modelmill-a", "0 30 3 * * *", "ENABLED"),
        ("modelmill-b", "0 30 3 * * *", "DISABLED"),
        ("modelmill-c", "0 0 * * * *", "ENABLED"),
    ]
    run = next(run for run in place.runs.values() if run.display_name == "modelmill-c")
    assert (run.max_concurrency, run.no_catchup, run.service_account) == ("3", False, "modelmill-pipeline")
    version = place.server.versions[run.pipeline_version_reference.pipeline_version_id]
    assert version.pipeline_id == run.pipeline_version_reference.pipeline_id
    place.server.requests.clear()
    assert place.apply() == []
    assert _writes(place.server) == []
    assert len(place.server.versions) == 1


def test_a_changed_recipe_replaces_by_the_same_version_and_pausing_does_not(place: Place) -> None:
    place.write(a={})
    place.apply()
    (first,) = [key for key, run in place.runs.items() if run.display_name == "modelmill-a"]
    place.write(a={"enabled": False})
    assert place.apply() == ["disable a"]
    assert place.runs[first].status == "DISABLED"
    place.write(a={})
    assert place.apply() == ["enable a"]
    place.recipe(steps=20)
    assert place.apply() == ["create a", "delete a"]
    assert first not in place.runs
    assert len(place.server.versions) == 1
    (run,) = place.runs.values()
    key = run.runtime_config.parameters["recipe"]
    assert json.loads(stored.read(open_store(place.store), key))["fine_tuning"]["steps"] == 20
    place.write(a={"if_changed": False})
    assert place.apply() == ["create a", "delete a"]
    looks = [b"reason-to-train" in content for content in place.server.files.values()]
    assert looks == [True, False]


def test_a_store_that_is_not_seen_from_here_is_refused_before_the_cluster_is_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(a={})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"^store s3://.* written there first, and cannot be .* AWS_ENDPOINT_URL$"):
        place.apply()
    assert place.server.requests == []
    assert place.diff() == ["create a"], "to compare, no recipe is written"


def test_what_is_not_ours_is_left_alone(place: Place) -> None:
    place.write(a={}, b={})
    place.apply()
    (copied,) = [run for run in place.runs.values() if run.display_name == "modelmill-a"]
    foreign = {
        "by-hand": {"display_name": "nightly", "description": "mine"},
        "namesake": {"display_name": "modelmill-a", "description": None},
        "copied": {"display_name": "Clone of modelmill-a", "description": copied.description},
        "elsewhere": {"display_name": "modelmill-z", "description": copied.description, "experiment_id": "other"},
    }
    for key, own in foreign.items():
        held = {"experiment_id": copied.experiment_id, "status": "ENABLED", **own}
        place.runs[key] = api.V2beta1RecurringRun(recurring_run_id=key, **held)
    place.write(b={"cron": "0 4 * * *"})
    assert sorted(place.apply()) == ["create b", "delete a", "delete b"]
    assert set(foreign) < set(place.runs)
    assert len(place.runs) == len(foreign) + 1


def test_an_apply_that_is_killed_loses_no_schedule_and_the_next_one_finishes(place: Place) -> None:
    place.write(a={})
    place.apply()
    place.write(a={"cron": "0 5 * * *"})
    process = subprocess.Popen(
        [*cli.COMMAND, "schedule", "apply", str(place.file), "--cluster", str(place.cluster)],
        env=cli.environment(**place.env),
    )

    def kill(request: Request) -> None:
        if request.method == "DELETE":
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            place.server.fail("DELETE", "recurringruns", 503)  # It never arrived.

    place.server.before = kill
    assert process.wait(60) == -signal.SIGKILL
    place.server.before = lambda request: None
    assert [line[1] for line in place.lines()] == ["0 0 5 * * *", "0 30 3 * * *"]
    assert place.apply() == ["delete a"]
    assert [line[1] for line in place.lines()] == ["0 0 5 * * *"]


def test_an_answer_that_was_lost_makes_no_second_recurring_run(place: Place) -> None:
    place.write(a={})
    place.server.fail("POST", "recurringruns", 503, after=True)
    assert place.apply() == ["create a"]
    assert len(place.runs) == 1
    place.write()
    place.server.fail("DELETE", "recurringruns", 503, after=True)
    assert place.apply() == ["delete a"]
    assert place.runs == {}


def test_a_failure_in_between_is_one_line_and_applying_again_goes_on(place: Place) -> None:
    place.write(a={}, b={})
    place.apply()
    place.write(a={"cron": "0 5 * * *"}, b={})
    place.server.fail("DELETE", "recurringruns", 500, times=10)
    with pytest.raises(ModelmillError, match="again goes on"):
        place.apply()
    place.server.failures.clear()
    assert place.apply() == ["delete a"]


def test_a_zone_with_changes_of_clocks_has_a_run_for_each_window(place: Place) -> None:
    place.write(a={"time_zone": "Europe/Berlin"})
    assert set(place.apply()) == {"create a"}
    schedules = [run.trigger.cron_schedule for run in place.runs.values()]
    assert {one.cron for one in schedules} == {"0 30 1 * * *", "0 30 2 * * *"}
    starts = sorted(one.start_time for one in schedules if one.start_time)
    ends = sorted(one.end_time for one in schedules if one.end_time)
    # Each begins where another ends; the first has begun and the last has no end.
    assert starts == ends
    assert len(starts) == len(schedules) - 1
    assert place.apply() == []
    place.describe(time_zone="Europe/Berlin")
    assert place.apply().count("create a") == 1
    assert place.lines() == [("modelmill-a", "0 30 3 * * *", "ENABLED")]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"cron": "0 3 * *"}, "is not a cron line"),
        ({"time_zone": "Mars/Olympus"}, "is not a time zone"),
        ({"cron": "0 0 1 * *", "time_zone": "Europe/Berlin"}, "choose another hour"),
        ({"recipe": "nothing.yaml"}, "no such recipe"),
        ({"overrides": ["fine_tuning.stepz=3"]}, "did you mean 'steps'?"),
        ({"overrides": ["data.path=/home/me"]}, "is on this machine"),
    ],
)
def test_a_mistake_is_found_before_the_cluster_is_asked(place: Place, entry: dict[str, Any], said: str) -> None:
    place.write(bad=entry)
    with pytest.raises(UserError) as caught:
        place.apply()
    assert said in str(caught.value)
    assert "bad" in str(caught.value)
    assert place.server.requests == []


def test_the_commands_print_changes_and_end_as_git_diff_does(place: Place) -> None:
    place.write(a={})
    given = (place.file, "--cluster", place.cluster)
    differs = cli.modelmill("schedule", "diff", *given, "--exit-code")
    assert differs.returncode == 1
    assert "create" in differs.stdout
    assert "modelmill schedule apply" in differs.stderr
    applied = cli.modelmill("schedule", "apply", *given, "--json", **place.env)
    assert applied.returncode == 0, applied.stderr
    (change,) = json.loads(applied.stdout)["changes"]
    assert change | {"recurring_run": None} == {
        "action": "create",
        "schedule": "a",
        "reason": "new",
        "cron": "0 30 3 * * *",
        "recurring_run": None,
    }
    same = cli.modelmill("schedule", "diff", *given, "--exit-code")
    assert (same.returncode, same.stdout) == (0, "nothing to change\n"), same.stderr
    place.file.write_text("schedules: [{name: a, recipe: recipe.yaml, cron: daily}]")
    wrong = cli.modelmill("schedule", "apply", *given)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_help_has_an_example_and_json(command: str) -> None:
    said = cli.modelmill("schedule", command, "--help").stdout
    assert f"Example: modelmill schedule {command}" in said
    assert "--json" in said


def test_the_example_that_ships_can_be_applied(place: Place) -> None:
    assert {one.split()[1] for one in _shipped(place)} == {"python-lm-nightly", "tabular-mlp-hourly"}


def _shipped(place: Place) -> list[str]:
    return [f"{one.action} {one.schedule}" for one in applying.compare(cli.ROOT / "schedules.yaml", place.cluster)]
