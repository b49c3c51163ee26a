"""The report of runs that ended in every way a run can end, read back from a real folder store."""

import json
import os
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from components.common import digest, manifest, runs, tracking
from components.common.manifest import Entry, Manifest
from components.common.runs import Estimate, Problem, Progress, RunRecord, StepRecord
from components.common.steps import STEPS
from components.common.store import blobs
from components.common.store.folder import FolderStore
from components.reporting import step as reporting

RUN = "20260102-030405-abc"
HOSTILE = "<script>alert('x')</script>\" onload=\"alert(1)"
RESUME = "modelmill run recipes/tiny.yaml --run-id 20260102-030405-abc"
DOCS = b'<html><head><style>p { color: red }</style></head><body><p class="x">docs of the data</p></body></html>'


@pytest.fixture(autouse=True)
def default_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


class Page(HTMLParser):
    """The tags with their attributes, the ids, the text outside style, and the texts of class `status`."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.text = ""
        self.statuses: list[str] = []
        self._in_status = False
        self._in_style = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self._in_style = tag == "style"
        self._in_status = "status" in (dict(attrs).get("class") or "").split()

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_status = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._in_style else data
        self.statuses += [data] if self._in_status else []


class Finished:
    """A run's store after its report was written."""

    def __init__(self, store: FolderStore, folder: Path, recipe: dict[str, Any]) -> None:
        path = folder / "kfp" / "report"
        reporting.run(recipe=json.dumps(recipe), store=store.uri, run_id=RUN, report=str(path))
        outcome = runs.read_outcome(store, RUN)
        assert outcome is not None
        self.outcome = outcome
        self.source = path.read_text("utf-8")
        self.stored = store.get(runs.report_key(RUN)).decode()
        self.page = Page(self.source)


class Past:
    """Writes what the steps of a run would have left."""

    def __init__(self, folder: Path, task: str = "tabular_classification") -> None:
        self.folder = folder
        self.store = FolderStore(f"file://{folder / 'store'}")
        self.recipe = {"name": "tiny", "task": task, "data": {"path": "/data", "note": HOSTILE}}
        self.status: runs.Status = "ran"
        self.digests: dict[str, str] = {}
        self.plan({})

    def plan(self, estimates: dict[str, Estimate]) -> None:
        """Begin the run with these estimates."""
        record = RunRecord(
            run_id=RUN,
            recipe=self.recipe,
            store=self.store.uri,
            started=1767323045.0,
            resume=RESUME,
            estimates=estimates,
        )
        runs.write_run(self.store, record)

    def step(self, name: str, outputs: dict[str, Manifest], **fields: Any) -> None:
        digests = {output: manifest.save(self.store, made) for output, made in outputs.items()}
        self.digests |= {f"{name}.{output}": sha256 for output, sha256 in digests.items()}
        record = StepRecord(
            name=name,
            status=self.status,
            started=1767323045.0,
            seconds=12.5,
            key="ab" * 32,
            outputs=digests,
            headline=f"headline of {name}",
            reason="" if self.status == "reused" else "first run",
            metrics={"rows_per_second": 1234.5},
        )
        runs.write_step(self.store, RUN, record.model_copy(update=fields))

    def fail(self, name: str, problem: Problem) -> None:
        self.step(name, {}, status="failed", problem=problem, headline="")

    def file(self, path: str, value: Any) -> Entry:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return manifest.add_bytes(self.store, data, path)

    def data_validation(self) -> None:
        shards = [Entry(path=f"{HOSTILE}/{i}.csv", sha256="0" * 64, bytes=2048, rows=500) for i in range(2)]
        info = {"format": "csv", "rows": 1000, "columns": {"age": "int64", HOSTILE: "string"}}
        dataset = Manifest(kind="dataset", location="source", entries=shards, info=info)
        entries = [self.file("result.json", gx_result(passed=True)), self.file("data_docs.html", DOCS)]
        info = {"success": True, "rows": 1000, "expectations": 2, "passed": 2}
        self.step(
            "data_validation",
            {"dataset": dataset, "validation": Manifest(kind="validation", entries=entries, info=info)},
        )

    def preprocessing(self) -> None:
        splits = {"train": {"rows": 900}, "validation": {"rows": 50}, "test": {"rows": 50}}
        info = {"task": self.recipe["task"], "splits": splits}
        corpus = Manifest(kind="corpus", made_from={"dataset": "1" * 64}, info=info)
        self.step("preprocessing", {"corpus": corpus})

    def stage(self, name: str, trained: bool = True) -> None:
        history = [
            {"step": i, "learning_rate": 1e-3, "loss": 2 / i} | ({"validation_loss": 2.1 / i} if i % 5 == 0 else {})
            for i in range(1, 41)
        ]
        lines = "\n".join(map(json.dumps, history)).encode()
        info = {
            "task": self.recipe["task"], "stage": name, "trained": trained, "parameters": 4321, "steps": 40,
            "best_validation_loss": 0.0525, "libraries": {"torch": "2.13.0"},
        }  # fmt: skip
        made = Manifest(kind="model", entries=[self.file("history.jsonl", lines)], info=info)
        self.step(name, {"model": made})

    def evaluation(self, passed: bool = True) -> None:
        value = 0.95 if passed else 0.71
        check = {"metric": "accuracy", "value": value, "min": 0.9, "max": None, "passed": passed}
        entries = [
            self.file("metrics.json", {"accuracy": value, "loss": 0.4}),
            self.file("gate.json", {"passed": passed, "checks": [check]}),
        ]
        if self.recipe["task"] == "tabular_classification":
            entries.append(self.file("confusion.json", {"classes": ["no", HOSTILE], "matrix": [[40, 2], [1, 37]]}))
        else:
            sample = {"prompt": "def f(x):", "expected": HOSTILE, "generated": "half a surrogate \ud800"}
            entries.append(self.file("samples.json", [sample]))
        info = {"passed": passed, "metrics": {"accuracy": value, "loss": 0.4}}
        self.step("evaluation", {"evaluation": Manifest(kind="evaluation", entries=entries, info=info)})

    def registration(self) -> None:
        made = Manifest(kind="registration", info={"name": "tiny-model", "version": "7"})
        self.step("registration", {"registration": made})

    def trained(self) -> None:
        self.data_validation()
        self.preprocessing()
        self.stage("pretraining")
        self.stage("fine_tuning")

    def registered(self) -> None:
        self.trained()
        self.evaluation()
        self.registration()

    def report(self) -> Finished:
        return Finished(self.store, self.folder, self.recipe)


def gx_result(passed: bool) -> dict[str, Any]:
    kept = {
        "success": True,
        "expectation_config": {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
        "result": {"observed_value": 1000},
        "exception_info": {"raised_exception": False, "exception_message": None},
    }
    columns = {
        "success": passed,
        "expectation_config": {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "age", "min_value": 0, "max_value": 120, "batch_id": "secret-batch"},
        },
        "result": {
            "element_count": 1000,
            "unexpected_count": 0 if passed else 8,
            "unexpected_percent": 0.0 if passed else 0.8,
            "partial_unexpected_list": [] if passed else [HOSTILE, *range(900, 920)],
            "partial_unexpected_index_list": [] if passed else [17],
        },
        "exception_info": {"raised_exception": False, "exception_message": None},
    }
    return {"success": passed, "results": [kept, columns]}


def assert_self_contained(page: Page, source: str) -> None:
    """No tag loads, runs or posts anything, whatever the data said, and a policy forbids it as well."""
    assert not {"script", "link", "img", "object", "embed", "form", "a", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not {"src", "href", "action", "background", "onload", "onerror"} & attributes.keys(), tag
        assert tag != "iframe" or attributes["sandbox"] in (None, ""), "scripts in Data Docs could run"
    assert not re.search(r"url\(|@import", source)
    policies = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_registered_language_model_is_shown_with_curves_samples_and_version(tmp_path: Path) -> None:
    past = Past(tmp_path, "language_modeling")
    past.registered()
    run = past.report()
    assert (run.outcome["outcome"], run.outcome["exit_code"], run.outcome["failed_step"]) == ("registered", 0, None)
    assert run.outcome["model"] == {"name": "tiny-model", "version": "7", "alias": None}
    assert run.outcome["resume"] == RESUME and run.outcome["run_id"] == RUN
    assert Path(run.outcome["report"].removeprefix("file://")).read_text("utf-8") == run.source
    everything = {
        "summary", "pipeline", "steps", "data", "splits", "training", "evaluation", "registration", "lineage",
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
    assert "Confusion matrix" in run.page.text and "Generated samples" not in run.page.text
    assert run.stored == run.source
    assert_self_contained(run.page, run.source)


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
    past.store.put(f"runs/{RUN}/validation/quarantine.json", json.dumps({"shards": [unreadable, broken]}).encode())
    past.store.put(f"runs/{RUN}/validation/drift.json", json.dumps(drift).encode())
    run = past.report()
    assert "Quarantine: 2 shards left out" in run.page.text and "row 7" in run.page.text
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
    assert not {"splits", "training", "evaluation", "registration", "lineage"} & run.page.ids
    assert f"{HOSTILE} at 17" in run.page.text and "8 of 1,000 bad" in run.page.text
    assert "902" in run.page.text and "905" not in run.page.text, "the first bad values are shown, not all"
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
    outcome = runs.read_outcome(past.store, RUN)
    assert outcome is not None and (outcome["exit_code"], outcome["reason"]) == (2, "the recipe is not JSON")
    assert "the recipe is not JSON" in (tmp_path / "report").read_text("utf-8")


MEASURED = {
    "tokens_per_second": 9823.7, "model_flops_per_second": 1.777e11, "mfu": 0.41, "peak_memory_bytes": 934141952,
    "energy_joules": 12345.0, "device": HOSTILE, "devices": 1, "device_seconds": 44.0, "model_flops": 4.4e12,
}  # fmt: skip
ESTIMATE = Estimate(unit="tokens", model_flops=4.0e12, device_hours=40 / 3600, basis="last ran at 100 GFLOP/s")


def training_of(past: Past, metrics: dict[str, Any], **fields: Any) -> str:
    """What the page says, from Training on, of a run in which fine-tuning measured this and pretraining was reused."""
    past.data_validation()
    past.preprocessing()
    for name in ("pretraining", "fine_tuning"):
        past.stage(name)
        record = runs.read_step(past.store, RUN, name)
        assert record is not None
        ended = fields if name == "fine_tuning" else {"status": "reused"}
        runs.write_step(past.store, RUN, record.model_copy(update={"metrics": metrics, **ended}))
    body = past.report().source.partition('<section id="training">')[2]
    return " ".join(unescape(re.sub("<[^>]+>", " ", body)).split())


def test_cost_is_shown_against_the_plan_and_what_was_reused_cost_nothing(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.plan({"pretraining": ESTIMATE, "fine_tuning": ESTIMATE})
    text = training_of(past, MEASURED)
    shown = text.partition("Cost Fine tuning Planned Actual Off by")[2]
    assert shown.startswith(" Model FLOPs 4 TFLOP 4.4 TFLOP +10.0 % Device time 40.0 s 44.0 s +10.0 %")
    for fact in ("9,824 tokens/s", "178 GFLOP/s", "41.0 %", "890.9 MiB", "12.3 kJ", "last ran at 100 GFLOP/s"):
        assert fact in shown
    assert text.count("Off by") == 1 and HOSTILE in shown


def test_what_was_not_known_before_is_unknown_and_off_by_nothing(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.plan({"fine_tuning": Estimate(unit="samples", basis="the model's shape is not known before a first run")})
    shown = training_of(past, MEASURED).partition("Off by")[2]
    assert shown.startswith(" Model FLOPs unknown 4.4 TFLOP Device time unknown 44.0 s The plan: the model's shape")


def test_without_a_plan_as_on_a_cluster_the_actual_cost_alone_is_shown(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.store.delete(f"runs/{RUN}/run.json")
    text = training_of(past, MEASURED)
    assert "Cost Fine tuning Actual Model FLOPs 4.4 TFLOP Device time 44.0 s Speed 9,824 tokens/s" in text
    assert "Planned" not in text


def test_a_training_that_failed_shows_no_cost(tmp_path: Path) -> None:
    problem = Problem(kind="diverged", message="the loss became nan", exit_code=1)
    assert "Cost" not in training_of(Past(tmp_path), {}, status="failed", problem=problem)


def test_skipped_batches_and_a_resumption_are_said_with_the_training(tmp_path: Path) -> None:
    text = training_of(Past(tmp_path), {"skipped_batches": 3, "resumed_from_step": 17})
    assert "Skipped batches 3 Resumed from step 17" in text.partition("Fine tuning")[2]


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

    from components.reporting.component import reporting as face

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
