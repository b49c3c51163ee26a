"""The data_validation component, called through its KFP face: what passes, what does not, and what is left behind."""

import html.parser
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelmill.components.data_validation.component import data_validation
from modelmill.data import columns
from modelmill.pipelines import demo_data
from modelmill.recipe import stored
from modelmill.runtime import run_records
from modelmill.store import manifest, open_store
from modelmill.store.manifest import Manifest

ROOT = Path(__file__).parents[2]


def expect(type: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": type, "kwargs": kwargs}


class Run:
    """One call of the component; its store and the manifests that it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        self.store = open_store(f"file://{folder / 'store'}")

    def rows(self, name: str, *rows: dict[str, Any]) -> None:
        (self.data / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def recipe(self, expectations: list[Any]) -> str:
        document = {
            "name": "test",
            "task": "tabular_classification",
            "data": {"path": str(self.data), "suite": {"name": "<b>contract</b>", "expectations": expectations}},
            "preprocessing": {"features": ["a"], "label": "s"},
            "fine_tuning": {"steps": 1, "learning_rate": 0.1},
            "registration": {"model": "test"},
        }
        return stored.write_json(self.store, json.dumps(document))

    def __call__(self, *expectations: Any, run_id: str = "1") -> "Run":
        dataset, validation = (SimpleNamespace(path=str(self.folder / n)) for n in ("dataset", "validation"))
        data_validation.python_func(self.recipe(list(expectations)), self.store.uri, run_id, dataset, validation)
        return self

    def fails(self, *expectations: Any, run_id: str = "1") -> tuple[int, str]:
        """The exit code and the message of a call that ends the step."""
        with pytest.raises(SystemExit) as ended:
            self(*expectations, run_id=run_id)
        record = run_records.read_step(self.store, run_id, "data_validation")
        assert record is not None and record.problem is not None and record.status == "failed"
        assert record.problem.exit_code == ended.value.code and "\n" not in record.problem.message
        return record.problem.exit_code, record.problem.message

    def manifest(self, name: str) -> Manifest:
        return Manifest.parse((self.folder / name).read_bytes())

    def left(self, name: str, run_id: str = "1") -> str:
        return self.store.get(f"runs/{run_id}/validation/{name}").decode()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize("name, task", [("python-lm", "language_modeling"), ("tabular-mlp", "tabular_classification")])
def test_the_demo_data_meets_its_suite(run: Run, name: str, task: str) -> None:
    demo_data.write(name, run.data)
    suite = json.loads((ROOT / "recipes" / "suites" / f"{name}.json").read_text())
    run(*suite["expectations"])
    record = run_records.read_step(run.store, "1", "data_validation")
    total = len(suite["expectations"])
    assert record is not None and record.metrics["passed"] == record.metrics["expectations"] == total
    assert record.headline == f"{record.metrics['rows']} rows, {total}/{total} expectations"


def test_passing_data_gives_manifests_of_the_shards_and_of_the_verdict(run: Run) -> None:
    run.rows("a.jsonl", {"a": 1, "s": "x"}, {"a": 2, "s": "y"})
    run.rows("b.jsonl", {"a": 2.5})
    run(
        expect("expect_column_values_to_be_between", column="a", min_value=1),
        expect("expect_column_to_exist", column="s"),
    )
    dataset, validation = run.manifest("dataset"), run.manifest("validation")
    assert (dataset.kind, dataset.location) == ("dataset", "source")
    assert [(e.path, e.rows, e.bytes) for e in dataset.entries] == [("a.jsonl", 2, 38), ("b.jsonl", 1, 11)]
    schema = columns.unpacked(dataset.info.pop("schema"))
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {"a": "double", "s": "string"}
    assert dataset.info == {"format": "jsonl", "rows": 3, "columns": {"a": "double", "s": "string"}}
    assert validation.info == {"success": True, "rows": 3, "expectations": 2, "passed": 2}
    assert validation.made_from["dataset"] == run.manifest("dataset").digest
    for entry in validation.entries:
        assert manifest.read_entry(run.store, entry).decode() == run.left(entry.path)
    record = run_records.read_step(run.store, "1", "data_validation")
    assert record is not None
    counts = {"rows": 3, "shards": 2, "new_shards": 2, "quarantined": 0, "bytes": 49}
    assert record.metrics == counts | {"expectations": 2, "passed": 2}


def test_equal_data_gives_equal_manifests_wherever_it_is(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Run(tmp_path_factory.mktemp("other"))
    for each in (run, other):
        each.rows("a.jsonl", {"a": 1})
        each(expect("expect_column_values_to_be_between", column="a", max_value=5))
    assert run.manifest("dataset").digest == other.manifest("dataset").digest
    assert run.manifest("validation").digest == other.manifest("validation").digest


def test_four_bad_shards_of_five_do_not_pass(run: Run) -> None:
    """Great Expectations' own checkpoint over a folder looks at the last file only."""
    for shard in range(5):
        run.rows(f"{shard}.jsonl", *({"a": -1 if shard < 4 else 1} for _ in range(10)))
    code, message = run.fails(expect("expect_column_values_to_be_between", column="a", min_value=0))
    assert code == 3
    assert "expect_column_values_to_be_between(a) 40 of 50 rows: 0.jsonl:1=-1, 0.jsonl:2=-1" in message
    assert not (run.folder / "dataset").exists()


def test_sample_rows_name_their_shard_and_their_row_in_it(run: Run) -> None:
    run.rows("a.jsonl", {"s": "ok"}, {"s": "ok"})
    run.rows("b.jsonl", {"s": "ok"}, {"s": 'bad\n"\u202e'}, {"s": "ok"})
    run.rows("c.jsonl", {"s": "x" * 100}, {"s": None})
    _, message = run.fails(
        expect("expect_column_values_to_be_in_set", column="s", value_set=["ok"]),
        expect("expect_column_values_to_not_be_null", column="s"),
    )
    assert 'rows: b.jsonl:2="bad\\n\\"?", c.jsonl:1="xxx' in message
    assert "x" * 50 not in message
    assert "expect_column_values_to_not_be_null(s) 1 of 7 rows: c.jsonl:2=null" in message


def test_failing_data_leaves_result_and_data_docs(run: Run) -> None:
    (run.data / "a.jsonl").write_text('{"a":1.5}\n{"a":null}\n{"a":1e999}\n')  # the last is infinite
    code, message = run.fails(
        expect("expect_column_values_to_not_be_null", column="a"),
        expect("expect_column_max_to_be_between", column="a", max_value=1),
        expect("expect_column_to_exist", column="b"),
        expect("expect_table_row_count_to_be_between", min_value=1),
        expect(
            "expect_column_quantile_values_to_be_between",
            column="a",
            quantile_ranges={"quantiles": [0.0], "value_ranges": [[5, 6]]},
        ),
    )
    assert code == 3 and message.startswith("4 of 5 expectations failed")
    assert message.endswith("runs/1/validation/data_docs.html")
    result = json.loads(run.left("result.json"), parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert [r["success"] for r in result["results"]] == [False, False, False, True, False]
    assert result["success"] is False and result["statistics"]["unsuccessful_expectations"] == 4
    assert "must never be null" in " ".join(run.left("data_docs.html").split())


def test_an_expectation_that_cannot_be_computed_on_the_data_has_failed(run: Run) -> None:
    run.rows("a.jsonl", {"a": "text"})
    code, message = run.fails(
        expect("expect_column_to_exist", column="a"),
        expect("expect_column_values_to_be_between", column="a", min_value=0),
        expect("expect_column_values_to_not_be_null", column="a"),
    )
    assert code == 3 and "expect_column_values_to_be_between(a) cannot be computed" in message
    results = json.loads(run.left("result.json"))["results"]
    assert [r["success"] for r in results] == [True, False, True], "results are in the suite's order"
    assert "Traceback" not in run.left("result.json") + run.left("data_docs.html")


def test_large_integers_with_nulls_are_not_rounded(run: Run) -> None:
    run.rows("a.jsonl", {"a": 2**53}, {"a": 2**53 + 1}, {"a": None})
    run(expect("expect_column_values_to_be_unique", column="a"))


def test_a_shard_that_was_scanned_is_not_read_again(run: Run) -> None:
    """Also where the suite counts values; another suite, or other content, is another scan."""
    unique = expect("expect_column_values_to_be_unique", column="a")
    for shard in range(3):
        run.rows(f"{shard}.jsonl", {"a": shard}, {"a": shard + 10})
    run(unique, run_id="1")
    run.rows("3.jsonl", {"a": 100})
    run(unique, run_id="2")
    run.rows("1.jsonl", {"a": 2})
    _, message = run.fails(unique, run_id="3")
    assert "expect_column_values_to_be_unique(a) 2 of 6 rows: 1.jsonl:1=2, 2.jsonl:1=2" in message
    run.rows("1.jsonl", {"a": 1})
    run(unique, expect("expect_column_max_to_be_between", column="a", max_value=100), run_id="4")
    scanned = [run_records.read_step(run.store, run_id, "data_validation") for run_id in ("1", "2", "4")]
    assert [record.metrics["new_shards"] for record in scanned if record] == [3, 1, 4]


class Page(html.parser.HTMLParser):
    """Collects the tags, the places that they point to, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for key, value in attrs if key in {"src", "href", "srcset", "action", "onclick"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_data_docs_escape_the_data_and_refer_to_nothing_outside(run: Run) -> None:
    hostile = ["<script>alert(1)</script>", "<img src=http://example.com/x>", '"><svg onload=x>', "$column ${a} &amp;"]
    run.rows("a.jsonl", *({"s": text, "<u>": 1} for text in hostile))
    run.fails(
        expect("expect_column_values_to_be_in_set", column="s", value_set=["<script>set</script>"]),
        expect("expect_column_distinct_values_to_equal_set", column="s", value_set=["<i>"]),
        expect("expect_column_values_to_match_regex", column="s", regex="(?<!x)<$"),
        expect("expect_table_columns_to_match_set", column_set=["<script>c</script>"]),
        expect("expect_column_values_to_be_between", column="<u>", min_value=2),
        expect("expect_column_to_exist", column="<script>d</script>"),
        expect("expect_column_kl_divergence_to_be_less_than", column="s", threshold=0.1,
               partition_object={"values": ["<a>"], "weights": [1.0]}),
    )  # fmt: skip
    text = run.left("data_docs.html")
    page = Page(text)
    assert not page.tags & {"script", "img", "svg", "link", "iframe", "object", "u"}
    assert page.links == []
    assert "url(" not in text and "@import" not in text
    for value in [*hostile, "<script>set</script>", "(?<!x)<$", "<script>c</script>", "<b>contract</b>"]:
        assert value in page.text


BAD_SUITES = {
    "unknown type": (
        [expect("expect_column_values_not_be_null", column="a")],
        r"expectations[0] expect_column_values_not_be_null: no such expectation; did you mean "
        r"'expect_column_values_to_not_be_null'?",
    ),
    "unknown argument": (
        [expect("expect_column_to_exist", column="a"), expect("expect_column_values_to_be_between", column="a", min=1)],
        "expectations[1] expect_column_values_to_be_between: kwargs.min: extra fields not permitted; "
        "did you mean 'min_value'?",
    ),
    "missing argument": ([expect("expect_column_values_to_not_be_null")], "kwargs.column: field required"),
    "impossible argument": (
        [expect("expect_column_values_to_not_be_null", column="a", mostly=2)],
        "expect_column_values_to_not_be_null: kwargs.mostly",
    ),
    "not a regex": ([expect("expect_column_values_to_match_regex", column="a", regex="((")], "'((' is not a regular"),
    "absent column": (
        [expect("expect_column_values_to_not_be_null", column="A")],
        "suite names column 'A' that is not there; columns are a, s",
    ),
    "absent column of several": (
        [expect("expect_compound_columns_to_be_unique", column_list=["a", "z"])],
        "suite names column 'z' that is not there; columns are a, s",
    ),
    "needs SQL": (
        [{"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "SELECT 1 FROM {batch}"}}],
        "needs a database",
    ),
    "unknown key": ([{"type": "expect_column_to_exist", "kwarg": {}}], "unknown key 'kwarg'"),
    "no object": (["expect_column_to_exist"], 'expectations[0]: an expectation is an object with "type"'),
    "nothing": ([], "the suite has no expectations"),
}


@pytest.mark.parametrize("expectations, words", BAD_SUITES.values(), ids=BAD_SUITES)
def test_a_suite_that_cannot_be_held_is_refused(run: Run, expectations: list[Any], words: str) -> None:
    run.rows("a.jsonl", {"a": 1, "s": "x"})
    code, message = run.fails(*expectations)
    assert code == 2 and message.startswith("data.suite: ") and words in message


def test_columns_that_differ_only_by_case_are_refused(run: Run) -> None:
    """Great Expectations would look at the first of them for both."""
    run.rows("a.jsonl", {"a": 1, "A": -1})
    code, message = run.fails(expect("expect_column_values_to_be_between", column="A", min_value=0))
    assert code == 2 and "columns a, A differ only by case" in message


def test_broken_and_conflicting_shards_are_a_users_mistake(run: Run) -> None:
    run.rows("a.jsonl", {"a": 1})
    run.rows("b.jsonl", {"a": "x"})
    everything = expect("expect_table_row_count_to_be_between", min_value=0)
    code, message = run.fails(everything)
    assert code == 2 and "b.jsonl: column 'a' is string, in the shards before it int64" in message
    (run.data / "b.jsonl").write_text('{"a":2}\n{"a":')
    code, message = run.fails(everything)
    assert code == 2 and "b.jsonl:2: cut off" in message
    (run.data / "a.jsonl").write_text("\n")
    (run.data / "b.jsonl").unlink()
    code, message = run.fails(everything)
    assert code == 2 and "not one row" in message


def test_great_expectations_is_quiet_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """In a process of its own, with a home and a temporary folder to look into and every connection refused."""
    program = """
import logging, socket
logging.basicConfig(level=logging.INFO)
def refuse(*args): raise AssertionError(f"connects to {args[1:]}")
socket.socket.connect = refuse
from modelmill.data import shards
from modelmill.components.data_validation import contract
suite = {"name": "s", "expectations": [
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "a", "regex": "(x)|y"}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "a"}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", "min_value": 1}}]}
contract.judge("a.csv", shards.find("a.csv", "auto"), suite, lambda *_: None).data_docs()
"""
    for name in ("home", "tmp", "cwd"):
        (tmp_path / name).mkdir()
    (tmp_path / "cwd" / "a.csv").write_text("a\nx\nx\n")
    kept = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "cwd",
        env={**kept, **places},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    left = [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()]
    assert sorted(left) == ["cwd/a.csv", "home/.cache/modelmill/digests.db"]
