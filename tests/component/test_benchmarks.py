"""The benchmarks run, and their peers agree; what they measure is for `make bench-data` and the others to say."""

import csv
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.training import turns
from tests import cli

pytestmark = pytest.mark.usefixtures("forks")


def test_bench_data_prints_its_table_and_the_cost_of_one_changed_shard() -> None:
    printed = _printed("bench_data", "--rows", "20000", "--rounds", "1", "--shards", "3", "--files", "20")
    assert printed.count("| 20,000 |") == 3 and "one of 3 shards changed" in printed


def test_the_corpus_is_tokenised_and_packed_at_two_sizes() -> None:
    """Ours alone: the peers' library is installed by `make bench-data` only."""
    printed = _printed("bench_tokens", "--copies", "2", "--rounds", "1", "--processes", "2", "--peers", "modelmill")
    assert printed.count("| modelmill |") == 2 and "times the memory of the smaller corpus" in printed


def test_memory_is_measured_for_every_kind_of_input() -> None:
    printed = _printed("bench_memory", "--line-mb", "1", "--csv-mb", "1", "--columns", "50")
    assert len(re.findall(r"\| [0-9.]+ \| [0-9,]+ \|", printed)) == 4


def test_our_engine_and_the_trainer_train_the_same_model_on_documents_and_on_pairs() -> None:
    """litgpt and Lightning are installed by `make bench-train` only."""
    peers = ["--peers", "modelmill, not compiled", "Hugging Face Trainer"]
    printed = _bench_train("--parts", "pretraining", "lora", "checkpoints", *peers)
    assert all(printed.count(f"x 64 | {peer} |") == 2 for peer in peers[1:]), printed
    assert "each at its best" in printed and "of these tokens are learned" in printed and "| of 30 s |" in printed


def test_processes_that_take_turns_train_the_same_model() -> None:
    peers = ["modelmill, not compiled", "Hugging Face Trainer"]
    printed = _bench_train("--parts", "pretraining", "--turns", "--peers", *peers)
    assert all(re.search(rf"x 64 \| {peer} \| [0-9,]+ \| [0-9.]+ \| [0-9.]+% \|", printed) for peer in peers), printed


def test_one_process_is_timed_while_the_others_wait_and_one_that_fails_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = tmp_path / "times"
    script = (
        "import sys, time\n"
        "for _ in range(3):\n"
        "    print('ready', flush=True); sys.stdin.readline(); began = time.time(); time.sleep(0.05)\n"
        f"    open({str(times)!r}, 'a').write(f'{{began}} {{time.time()}}\\n')\n"
        "print(sys.argv[1])\n"
    )
    commands = {name: [sys.executable, "-c", script, name] for name in "abc"}
    printed = turns.take(commands | {"d": [sys.executable, "-c", "raise SystemExit('no memory')"]})
    assert printed == {name: name for name in "abc"}
    assert "d failed:\nno memory" in capsys.readouterr().err
    spans = sorted(tuple(map(float, line.split())) for line in times.read_text().splitlines())
    assert len(spans) == 9
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_our_engine_and_the_trainer_learn_the_same_from_the_same_tokens(tmp_path: Path) -> None:
    printed = _bench_train("--parts", "start", "loss", "--loss-steps", "10", "--results", str(tmp_path))
    assert "| start to end of first step |" in printed and "| tiny after 2,560 tokens |" in printed
    curves = list(csv.DictReader((tmp_path / "validation_loss.csv").open()))
    assert [int(row["tokens"]) for row in curves] == [256 * step for step in range(1, 11)]
    for row in curves:
        assert abs(float(row["modelmill"]) - float(row["Hugging Face Trainer"])) < 0.002


def test_our_bootstrap_is_that_of_scipy_and_challengers_are_counted() -> None:
    printed = _printed("bench_gate", "--examples", "5000", "--trials", "4")
    off = re.search(r"the ends differ by ([0-9.]+)% of the width", printed)
    assert off is not None and float(off[1]) < 5
    assert printed.count("| superior |") == printed.count("| non_inferior |") == 6


def test_a_model_is_registered_by_either_way_and_timed() -> None:
    """Ours alone: s5cmd is installed by `make bench-gate` only."""
    printed = _printed("bench_registration", "--mib", "16", "--rounds", "1")
    assert len(re.findall(r"\| registered, files .* \| [0-9.]+ \| ", printed)) == 2


def _bench_train(*arguments: str) -> str:
    return _printed("bench_train", "--shapes", "tiny", "--rounds", "1", "--warm-up", "1", "--steps", "2", *arguments)


def _printed(benchmark: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *arguments]
    done = subprocess.run(command, cwd=cli.ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
