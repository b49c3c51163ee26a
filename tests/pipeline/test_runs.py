"""What runs leave in the store: which of them is the latest."""

from pathlib import Path

from modelmill.runtime import run_records
from modelmill.runtime.run_records import RunRecord
from modelmill.store import open_store
from tests import cli

OLD, NEW = "f47ac10b-58cc-4372-a567-0e02b2c3d479", "0b1d6a52-91f3-4a3e-8f0c-6c1f1d5c9a11"


def begin(store: str, run_id: str, started: float) -> None:
    """A run as a cluster records it; its page says which it is."""
    opened = open_store(store)
    run_records.write_run(opened, RunRecord(run_id=run_id, recipe={}, store=store, started=started, resume=""))
    opened.put(run_records.report_key(run_id), f"<p>{run_id}".encode())


def test_the_latest_run_is_the_last_to_begin_whatever_its_id(tmp_path: Path) -> None:
    store = f"file://{tmp_path}"
    for run_id, started in ((OLD, 100.0), (NEW, 300.0), ("20260101-000000-abcdef", 200.0)):
        begin(store, run_id, started)
    open_store(store).put("runs/zzz/steps/pretraining.json", b"{}")
    assert run_records.run_ids(open_store(store)) == ["zzz", OLD, "20260101-000000-abcdef", NEW]
    done = cli.modelmill("report", "--store", store, "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert NEW in (tmp_path / "page.html").read_text()
