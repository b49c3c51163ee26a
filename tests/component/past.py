"""Runs of the past as the report finds them: what their steps would have left, in a real folder store."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from modelmill.components.reporting import step as reporting
from modelmill.recipe import stored
from modelmill.runtime import run_records
from modelmill.runtime.run_records import Estimate, Problem, RunRecord, StepRecord
from modelmill.store import manifest
from modelmill.store.folder import FolderStore
from modelmill.store.manifest import Entry, Manifest

RUN = "20260102-030405-abc"
HOSTILE = "<script>alert('x')</script>\" onload=\"alert(1)"
RESUME = "modelmill run recipes/tiny.yaml --run-id 20260102-030405-abc"
DOCS = b'<html><head><style>p { color: red }</style></head><body><p class="x">docs of the data</p></body></html>'


class Page(HTMLParser):
    """The tags with their attributes, the ids, the sections in their order, the text outside style, the part of it that
    is folded, and the texts of class `status`.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.sections: list[str] = []
        self.text = ""
        self.folded = ""
        self.statuses: list[str] = []
        self._in_status = False
        self._in_style = False
        self._in_details = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self.sections += [dict(attrs).get("id") or ""] if tag == "section" else []
        self._in_details |= tag == "details" and "open" not in dict(attrs)
        self._in_style = tag == "style"
        self._in_status = "status" in (dict(attrs).get("class") or "").split()

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_status = False
        self._in_details &= tag != "details"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._in_style else data
        self.folded += data if self._in_details else ""
        self.statuses += [data] if self._in_status else []


class Finished:
    """A run's store after its report was written."""

    def __init__(self, store: FolderStore, folder: Path, recipe: dict[str, Any]) -> None:
        path = folder / "kfp" / "report"
        key = stored.write_json(store, json.dumps(recipe))
        reporting.run(recipe=key, store=store.uri, run_id=RUN, report=str(path))
        outcome = run_records.read_outcome(store, RUN)
        assert outcome is not None
        self.outcome = outcome
        self.source = path.read_text("utf-8")
        self.stored = store.get(run_records.report_key(RUN)).decode()
        self.page = Page(self.source)


class Past:
    """Writes what the steps of a run would have left."""

    def __init__(self, folder: Path, task: str = "tabular_classification") -> None:
        self.folder = folder
        self.store = FolderStore(f"file://{folder / 'store'}")
        self.recipe = {"name": "tiny", "task": task, "data": {"path": "/data", "note": HOSTILE}}
        self.status: run_records.Status = "ran"
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
        run_records.write_run(self.store, record)

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
        run_records.write_step(self.store, RUN, record.model_copy(update=fields))

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
        self.step(name, {"model": self.model(name, trained)})

    def model(self, name: str, trained: bool = True) -> Manifest:
        history = [
            {"step": i, "learning_rate": 1e-3, "loss": 2 / i} | ({"validation_loss": 2.1 / i} if i % 5 == 0 else {})
            for i in range(1, 41)
        ]
        lines = "\n".join(map(json.dumps, history)).encode()
        info = {
            "task": self.recipe["task"], "stage": name, "trained": trained, "parameters": 4321, "steps": 40,
            "best_validation_loss": 0.0525, "libraries": {"torch": "2.13.0"},
        }  # fmt: skip
        return Manifest(kind="model", entries=[self.file("history.jsonl", lines)], info=info)

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
            parts = {"prompt": "def f(x):", "expected": HOSTILE, "generated": "half a surrogate \ud800"}
            entries.append(self.file("samples.json", [{"kind": "text", "parts": parts}]))
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
            "partial_unexpected_list": [] if passed else [HOSTILE, *(f"bad value {number}" for number in range(20))],
            "partial_unexpected_index_list": [] if passed else [17],
        },
        "exception_info": {"raised_exception": False, "exception_message": None},
    }
    return {"success": passed, "results": [kept, columns]}
