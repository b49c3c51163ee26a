"""The report of runs that ended in every way a run can end, read back from a real folder store."""

import json
import re
from pathlib import Path

import pytest

from modelmill.components.reporting import step as reporting
from modelmill.core import digest
from modelmill.measures import samples
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import cancellation, run_records, tracking
from modelmill.runtime.run_records import Problem, Progress
from modelmill.store import blobs
from modelmill.store.manifest import Manifest
from tests.component.past import DOCS, HOSTILE, RESUME, RUN, Page, Past, gx_result

pytestmark = pytest.mark.usefixtures("default_registry")


def assert_self_contained(page: Page, source: str) -> None:
    """No tag loads, runs or posts anything, whatever the data said, and a policy forbids it as well."""
    assert not {"script", "link", "img", "object", "embed", "form", "a", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not {"src", "href", "action", "background", "onload", "onerror"} & attributes.keys(), tag
        assert tag != "iframe" or attributes["sandbox"] in (None, ""), "scripts in Data Docs could run"
    assert not re.search(r"url\(|@import", source)
    policies = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"]


def test_registered_language_model_is_shown_with_curves_samples_and_version(tmp_path: Path) -> None:
    past = Past(tmp_path, "language_modeling")
    past.registered()
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"], run.outcome["failed_step"]) == ("registered", 0, None)
    assert run.outcome["model"] == {"name": "tiny-model", "version": "7", "alias": None}
    assert run.outcome["resume"] == RESUME and run.outcome["run_id"] == RUN
    assert Path(run.outcome["report"].removeprefix("file://")).read_text("utf-8") == run.source
    everything = {
        "summary", "decision", "pipeline", "steps", "data", "splits", "training", "evaluation", "lineage",
        "recipe", "environment",
    }  # fmt: skip
    assert run.page.ids == everything
    charts = [attributes for tag, attributes in run.page.tags if tag == "svg"]
    assert len(charts) == 4 and all(chart["role"] == "img" for chart in charts)
    for text in ("Fine tuning: training and validation loss by step", "learning rate", "def f(x):", "half a surrogate"):
        assert text in run.page.text
    assert "tiny-model version 7" in run.page.text and "torch" in run.page.text
    assert "ab" * 32 in {attributes.get("title") for _, attributes in run.page.tags}, "the whole key is in a title"
    assert_self_contained(run.page, run.source)


def test_registered_classifier_is_shown_with_its_confusion_matrix_and_no_samples(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    run = past.report()
    assert "Confusion matrix" in run.page.text and "Held-out examples" not in run.page.text
    assert run.stored == run.source
    assert_self_contained(run.page, run.source)


def test_report_begins_with_the_decision_and_puts_what_was_measured_before_the_data(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    past.step("fine_tuning", {"model": past.model("fine_tuning")}, metrics={"device_seconds": 2.0})
    assert past.report().page.sections == [
        "decision", "evaluation", "training", "cost", "data", "splits", "pipeline", "steps", "lineage", "recipe",
        "environment",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"decision": "promoted", "why": "there was no champion"}, "Promoted to champion: there was no champion"),
        ({"decision": "refused", "why": "it is worse by 2 %"}, "Not promoted: it is worse by 2 %"),
        ({"decision": "registered", "why": "it was rolled back from"}, "Not promoted: it was rolled back from"),
    ],
)
def test_decision_says_why_and_how_the_gate_was_passed(tmp_path: Path, metrics: dict[str, str], shown: str) -> None:
    past = Past(tmp_path)
    past.registered()
    made = Manifest(kind="registration", info={"name": "tiny-model", "version": "7"})
    past.step("registration", {"registration": made}, metrics=metrics)
    head = past.report().page.text.split("Evaluation")[0]
    assert "tiny-model version 7" in head and shown in head
    assert "The gate passed: accuracy 0.95 (at least 0.9)." in head


def test_kept_expectations_are_folded_and_broken_ones_stand_open(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    page = past.report().page
    assert "2 of 2 expectations kept" in page.text and "2 of 2 expectations kept" not in page.folded
    assert "row count to be between" in page.folded and "values to be between" in page.folded

    past.fail("data_validation", Problem(kind="gate", message="1 of 2 expectations broken: age", exit_code=3))
    past.store.put(f"runs/{RUN}/validation/result.json", json.dumps(gx_result(passed=False)).encode())
    page = past.report().page
    assert "1 of 2 expectations kept" in page.text and "bad value 2" in page.text
    assert "row count to be between" in page.folded
    assert "values to be between" not in page.folded and "bad value" not in page.folded


def test_alias_is_the_one_that_the_registry_has_now(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    with tracking.client(past.store) as client:
        client.create_registered_model("tiny-model")
        versions = [client.create_model_version("tiny-model", source=str(tmp_path)).version for _ in range(2)]
        client.set_registered_model_alias("tiny-model", "champion", versions[1])
    for version, alias in zip(versions, (None, "champion"), strict=True):
        made = Manifest(kind="registration", info={"name": "tiny-model", "version": str(version)})
        past.step("registration", {"registration": made}, status="reused", metrics={"alias": "champion"})
        run = past.report()
        assert run.outcome["model"] == {"name": "tiny-model", "version": str(version), "alias": alias}
        assert ("alias champion" in run.page.text) == (alias is not None)


def test_registry_that_does_not_answer_hides_neither_the_outcome_nor_the_alias_that_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    past = Past(tmp_path)
    past.registered()
    made = Manifest(kind="registration", info={"name": "tiny-model", "version": "7"})
    past.step("registration", {"registration": made}, metrics={"alias": "champion"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret-word@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = past.report()
    assert run.outcome["outcome"] == "registered" and run.outcome["model"]["alias"] == "champion"
    assert "as registration left it" in caplog.text
    assert "secret-word" not in caplog.text + run.source + json.dumps(run.outcome)


def test_hostile_values_are_text_and_never_tags(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    run = past.report()
    assert run.page.text.count(HOSTILE) >= 3, "shard path, column and class are shown as they are"
    assert "<script" not in run.source.lower()
    assert_self_contained(run.page, run.source)


def test_hostile_conversations_are_shown_side_by_side_as_text(tmp_path: Path) -> None:
    past = Past(tmp_path, "language_modeling")
    past.trained()
    versions = {"true": HOSTILE, "before": f"before {HOSTILE}", f"after {HOSTILE}": "half a surrogate \ud800"}
    messages = [samples.message(HOSTILE, f"asked {HOSTILE}"), samples.answers("assistant", versions)]
    table = [
        {"metric": HOSTILE, "slice": f"source={HOSTILE}", "examples": 12, "before": 0.5, "after": 0.75,
         "better_by": [0.125, 0.375]},
        {"metric": "tool_calls_match", "slice": "all", "examples": 3, "before": None, "after": 0.5, "better_by": None},
    ]  # fmt: skip
    entries = [
        past.file("samples.json", [samples.conversation(messages, ["scale", HOSTILE])]),
        past.file("breakdown.json", table),
    ]
    info = {"passed": True, "metrics": {"loss_after": 1.0}}
    past.step("evaluation", {"evaluation": Manifest(kind="evaluation", entries=entries, info=info)})
    run = past.report()
    assert_self_contained(run.page, run.source)
    for shown in (f"asked {HOSTILE}", f"before {HOSTILE}", f"Tools: scale, {HOSTILE}", f"source={HOSTILE}"):
        assert shown in run.page.text
    assert "0.125 to 0.375" in run.page.text and "not measured" in run.page.text
    columns = [attributes for tag, attributes in run.page.tags if tag == "div" and attributes.get("class") == "sample"]
    assert len(columns) == 1, "what was said stands side by side"


def test_quarantined_shards_and_drift_are_shown_escaped(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    sample = {"row": 7, "value": {"age": HOSTILE}, "rule": "expect_column_values_to_be_between(age)"}
    unreadable = {"path": "cut.parquet", "rows": None, "why": "cut off or not Parquet", "samples": []}
    broken = {"path": HOSTILE, "rows": 5, "why": f"3 of 5 rows, {HOSTILE}", "samples": [sample]}
    measure = {"column": HOSTILE, "of": "values", "psi": 0.4321, "wasserstein": None, "drifted": True}
    drift = {
        "model": "tiny",
        "version": "3",
        "drifted": True,
        "drift": 0.4321,
        "measures": [measure],
        "skipped": [HOSTILE],
    }
    file = {"shard": "a.csv", "row": 3, "file": f"{HOSTILE}.png", "why": "broken"}
    left_out = {"shards": [unreadable, broken], "files": [file]}
    past.store.put(f"runs/{RUN}/validation/quarantine.json", json.dumps(left_out).encode())
    past.store.put(f"runs/{RUN}/validation/drift.json", json.dumps(drift).encode())
    run = past.report()
    assert "Quarantine: 2 shards left out" in run.page.text and "row 7" in run.page.text
    assert "Unusable files: 1 row left out" in run.page.text and f"{HOSTILE}.png" in run.page.text
    assert "Drift from the data of tiny version 3" in run.page.text and "0.432" in run.page.text
    assert run.page.text.count(HOSTILE) >= 8
    assert_self_contained(run.page, run.source)


def test_what_hygiene_left_out_is_counted(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.data_validation()
    left_out = {"near_duplicate": 31, "contaminated": 4}
    changed = {"normalised": 7, "emails": 1234, "secrets": 2}
    hygiene = {"documents": 935, "kept": 900, "left_out": left_out, "changed": changed}
    info = {"task": "language_modeling", "splits": {"train": {"documents": 900}}, "hygiene": hygiene}
    past.step("preprocessing", {"corpus": Manifest(kind="corpus", info=info)})
    text = past.report().page.text
    assert "900 of 935 documents kept" in text and "Near duplicate" in text and "1,234" in text


def test_data_docs_are_embedded_whole_in_a_sandbox(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    past.store.put(f"runs/{RUN}/validation/data_docs.html", DOCS)
    run = past.report()
    (frame,) = [attributes for tag, attributes in run.page.tags if tag == "iframe"]
    assert frame["srcdoc"] == DOCS.decode() and frame["sandbox"] is None
    assert f"runs/{RUN}/validation/data_docs.html" in run.page.text


def test_data_docs_of_a_reused_validation_are_found_where_the_manifest_says(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.status = "reused"
    past.registered()
    run = past.report()
    assert blobs.key_of(digest.of_bytes(DOCS)) in run.page.text and "docs of the data" in run.source


def test_failed_validation_shows_bad_rows_the_reason_and_how_to_go_on(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.fail("data_validation", Problem(kind="gate", message="1 of 2 expectations broken: age", exit_code=3))
    past.store.put(f"runs/{RUN}/validation/result.json", json.dumps(gx_result(passed=False)).encode())
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("gate failed", 3)
    assert run.outcome["failed_step"] == "data_validation" and run.outcome["model"] is None
    assert run.outcome["reason"] == "1 of 2 expectations broken: age"
    assert {"failure", "data", "recipe"} <= run.page.ids
    assert not {"splits", "training", "evaluation", "decision", "lineage"} & run.page.ids
    assert f"{HOSTILE} at 17" in run.page.text and "8 of 1,000 bad" in run.page.text
    assert "bad value 2" in run.page.text
    assert "bad value 5" not in run.page.text, "the first bad values are shown, not all"
    assert "secret-batch" not in run.source and RESUME in run.page.text
    assert run.page.statuses.count("not run") == 2 * 5, "five steps, in the DAG and in the table"
    assert_self_contained(run.page, run.source)


def test_missed_threshold_is_a_gate_failure_that_names_metric_value_and_bound(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.trained()
    past.evaluation(passed=False)
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("gate failed", 3)
    assert run.outcome["failed_step"] == "evaluation"
    assert run.outcome["reason"] == "accuracy is 0.71, below the minimum of 0.9"
    assert run.outcome["reason"] in run.page.text and "evaluation" in run.page.ids


def test_step_that_never_said_how_it_ended_was_killed(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.data_validation()
    past.preprocessing()
    past.step("pretraining", {}, status="running", progress=Progress(done=120, total=4e6, text="loss 1.25"))
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("failed", 1)
    assert run.outcome["failed_step"] == "pretraining" and "killed without a word" in run.outcome["reason"]
    assert "memory" in run.outcome["reason"] and "reached 120 of 4,000,000: loss 1.25" in run.page.text
    assert "killed" in run.page.text and RESUME in run.page.text


@pytest.mark.parametrize("has_saved", [True, False])
def test_a_cancelled_run_says_by_whom_whether_its_step_could_still_say_so_or_not(
    tmp_path: Path, has_saved: bool
) -> None:
    past = Past(tmp_path)
    past.data_validation()
    past.preprocessing()
    by = str(cancellation.write(past.store, RUN, "ann"))
    at = Progress(done=120, total=400, text="loss 1.25")
    if has_saved:
        problem = Problem(kind="cancelled", message=f"{by}; saved at step 120", exit_code=4)
        past.step("pretraining", {}, status="cancelled", problem=problem, progress=at)
    else:
        past.step("pretraining", {}, status="running", progress=at)
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("cancelled", 4)
    assert run.outcome["failed_step"] == "pretraining"
    assert run.outcome["reason"] == (f"{by}; saved at step 120" if has_saved else by)
    assert by in run.page.text and "killed" not in run.page.text and "cancelled" in run.page.statuses
    assert RESUME in run.page.text


def test_a_run_that_was_cancelled_too_late_is_registered(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    cancellation.write(past.store, RUN, "ann")
    assert past.report().outcome["outcome"] == "registered"


def test_what_went_wrong_before_a_run_was_cancelled_is_said_too(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.data_validation()
    past.fail("preprocessing", Problem(kind="failed", message="out of disk"))
    by = str(cancellation.write(past.store, RUN, "ann"))
    outcome = past.report().outcome
    assert (outcome["outcome"], outcome["reason"]) == ("cancelled", f"{by}; before: out of disk")


@pytest.mark.parametrize(("kind", "exit_code"), [("user", 2), ("bug", 1), ("failed", 1)])
def test_failed_step_keeps_its_message_and_exit_code(tmp_path: Path, kind: str, exit_code: int) -> None:
    past = Past(tmp_path)
    past.data_validation()
    past.fail("preprocessing", Problem(kind=kind, message=f"no column {HOSTILE}", exit_code=exit_code))
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("failed", exit_code)
    assert (run.outcome["failed_step"], run.outcome["reason"]) == ("preprocessing", f"no column {HOSTILE}")
    assert_self_contained(run.page, run.source)


def test_run_of_reused_steps_is_registered_and_shows_every_step_reused(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.status = "reused"
    past.registered()
    run = past.report()
    assert run.outcome["outcome"] == "registered"
    assert run.page.statuses.count("reused") == 2 * len(STEPS)


def test_run_that_ended_before_any_step_still_has_an_outcome_and_a_way_on(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.store.delete(f"runs/{RUN}/run.json")
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["failed_step"]) == ("failed", "data_validation")
    assert run.outcome["reason"] == "it did not start"
    assert run.outcome["resume"] == f"modelmill run tiny.yaml --store {past.store.uri}"
    assert "data" not in run.page.ids


@pytest.mark.parametrize("recipe", ["", "not JSON", "[1]", "null"])
def test_recipe_that_cannot_be_read_still_has_an_outcome(tmp_path: Path, recipe: str) -> None:
    past = Past(tmp_path)
    past.fail("data_validation", Problem(kind="user", message="the recipe is not JSON", exit_code=2))
    reporting.run(recipe=recipe, store=past.store.uri, run_id=RUN, report=str(tmp_path / "report"))
    outcome = run_records.read_outcome(past.store, RUN)
    assert outcome is not None and (outcome["exit_code"], outcome["reason"]) == (2, "the recipe is not JSON")
    assert "the recipe is not JSON" in (tmp_path / "report").read_text("utf-8")


def test_stage_that_the_recipe_leaves_out_is_not_drawn_twice(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    past.stage("fine_tuning", trained=False)
    run = past.report()
    assert sum(tag == "svg" for tag, _ in run.page.tags) == 2


def test_lost_blobs_leave_their_section_out(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.registered()
    corpus = past.digests["preprocessing.corpus"]
    past.store.delete(f"blobs/{corpus[:2]}/{corpus}")
    run = past.report()
    assert "splits" not in run.page.ids and "training" in run.page.ids
    assert run.outcome["outcome"] == "registered"


def test_crash_while_rendering_hides_neither_the_outcome_nor_the_way_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past = Past(tmp_path)
    past.registered()
    confusion = {"classes": ["a"], "matrix": [[1], [2]]}
    entries = [past.file("confusion.json", confusion)]
    past.step("evaluation", {"evaluation": Manifest(kind="evaluation", entries=entries, info={"passed": True})})
    past.fail("registration", Problem(kind="failed", message=HOSTILE))
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"]) == ("failed", 1)
    assert "could not be rendered" in run.page.text and "could not be rendered" in caplog.text
    assert RESUME in run.page.text and HOSTILE in run.page.text
    assert "script" not in {tag for tag, _ in run.page.tags}


def test_face_compiles_as_an_exit_handler_with_an_html_output(tmp_path: Path) -> None:
    from kfp import compiler, dsl

    from modelmill.components.reporting.component import reporting as face

    @dsl.component(base_image="any", install_kfp_package=False)
    def work() -> None:
        pass

    @dsl.pipeline(name="any")
    def pipeline(recipe: str, store: str, run_id: str) -> None:
        with dsl.ExitHandler(face(recipe=recipe, store=store, run_id=run_id)):
            work()

    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.json"))
    spec = json.loads((tmp_path / "pipeline.json").read_text("utf-8"))
    task = spec["root"]["dag"]["tasks"]["reporting"]
    assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    artifacts = spec["components"]["comp-reporting"]["outputDefinitions"]["artifacts"]
    assert artifacts["report"]["artifactType"]["schemaTitle"] == "system.HTML"
