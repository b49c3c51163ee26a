"""The log of a running step in the store: there while it runs, bounded, without secrets, and never in the way."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelmill.runtime import run_records, step_log
from modelmill.store import KeyNotFound, Store

ROOT = Path(__file__).parents[2]
KEY = run_records.step_log_key("r", "training")
log = logging.getLogger("modelmill")


@pytest.fixture(autouse=True)
def informed(caplog: pytest.LogCaptureFixture) -> None:
    """What the log keeps are lines from INFO on."""
    caplog.set_level(logging.INFO)


def kept(store: Store) -> str:
    return store.get(KEY).decode()


def test_the_log_is_there_while_the_step_runs_and_whole_when_it_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_log, "FLUSH_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt), step_log.kept(store, "r", "training"):
        log.info("one of two")
        while not list(store.list(KEY)):
            time.sleep(0.01)
        assert kept(store).endswith("INFO one of two\n")
        log.error("two of two")
        raise KeyboardInterrupt
    assert [line.split(" ", 3)[3] for line in kept(store).splitlines()] == ["one of two", "two of two"]
    log.info("after it")
    assert "after it" not in kept(store)


def test_a_step_that_logs_nothing_leaves_nothing(store: Store) -> None:
    with step_log.kept(store, "r", "training"):
        pass
    with pytest.raises(KeyNotFound):
        kept(store)


def test_a_second_try_goes_on_behind_the_first(store: Store) -> None:
    for number in (1, 2):
        with step_log.kept(store, "r", "training"):
            log.info("try %d", number)
    first, again, second = kept(store).splitlines()
    assert first.endswith("try 1") and "again" in again and second.endswith("try 2")


def test_of_a_long_log_the_end_is_kept_with_a_line_on_what_was_cut(store: Store) -> None:
    with step_log.kept(store, "r", "training"):
        for number in range(12_000):
            log.info("%d %s", number, "x" * 100)
    text = kept(store)
    cut, first, *_, last = text.splitlines()
    assert 0.9 * 2**20 < len(text) <= 2**20
    assert last.startswith("20") and " INFO 11999 " in last and first.startswith("20"), "whole lines only"
    written = sum(len(f"2026-01-01 00:00:00,000 INFO {n} {'x' * 100}\n") for n in range(12_000))
    assert cut == f"-- the first {written - len(text) + len(cut) + 1} bytes of this log are not kept --"


def test_no_secret_is_in_the_log(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "planted-one",
        "AWS_ACCESS_KEY_ID": "planted-two",
        "MLFLOW_TRACKING_PASSWORD": "planted-three",
        "hf_token": "planted-three-and-more",
        "MODELMILL_NOTIFY_SLACK": "https://hooks.example.org/planted-six",
        "MODELMILL_NOTIFY_WEBHOOK": "https://example.org/planted-seven",
        "SOME_SECRET_FILE": "first planted line\nsecond planted line",
        "EMPTY_TOKEN": "",
        "TOKENIZERS_PARALLELISM": "true",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    with step_log.kept(store, "r", "training"):
        log.info("true %s", secrets)
        log.info("https://user:planted-four@host/a?X-Amz-Signature=planted-five done")
        try:
            raise ValueError("it was planted-one\nand second planted line")
        except ValueError:
            log.exception("failed")
    text = kept(store)
    assert "planted" not in text
    assert "INFO true {" in text and "https://host/a done" in text and "ValueError: it was ***" in text


def test_no_secret_is_in_a_copy_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_log, "LIMIT_BYTES", 40)
    monkeypatch.setenv("A_PASSWORD", "planted")
    source, target = tmp_path / "source", tmp_path / "target"
    lines = [b"it was planted %d, https://user:pass@host/a\n" % number for number in range(50)]
    source.write_bytes(b"".join([*lines, b"\xff planted"]))
    step_log.write_without_secrets(source, target)
    expected = "".join(f"it was *** {number}, https://host/a\n" for number in range(50))
    assert target.read_text() == f"{expected}\ufffd ***"


def test_a_secret_that_the_cut_would_halve_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_PASSWORD", "planted" * 100)
    for room in (150, 700, 800):
        monkeypatch.setattr(step_log, "LIMIT_BYTES", room)
        with step_log.kept(store, "r", "training"):
            log.info("planted" * 100)
            log.info("the end")
        assert "planted" not in kept(store) and kept(store).endswith("the end\n")


def test_a_store_that_fails_is_one_warning_and_the_step_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(step_log, "FLUSH_SECONDS", 0.01)
    blocked = tmp_path / "store" / "objects" / "runs" / "r" / "logs"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder must be")
    done = 0
    with step_log.kept(store, "r", "training"):
        for done in range(5):
            log.info("%d", done)
            time.sleep(0.03)
    assert done == 4
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_a_disk_that_takes_no_log_does_not_fail_the_step(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with step_log.kept(store, "r", "training"):
        log.info("goes on")
    assert "is not kept" in caplog.text


def test_processes_that_the_step_starts_log_into_it_once(store: Store) -> None:
    child = (
        "import logging; from modelmill.runtime.recorded import prepare_process;"
        "prepare_process(); prepare_process();"
        "logging.getLogger('modelmill').info('from a child')"
    )
    with step_log.kept(store, "r", "training"):
        log.info("before")
        subprocess.run([sys.executable, "-c", child], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        step_log.join()
        log.info("after")
    assert [line.split(" ", 3)[3] for line in kept(store).splitlines()] == ["before", "from a child", "after"]
    assert "MODELMILL_STEP_LOG" not in os.environ
