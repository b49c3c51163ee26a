"""The same corpus, tokenised and packed three ways; each prints its tokens, seconds and peak memory as JSON.

Run as `python -m benchmarks.tokens.peers NAME SHARDS PROCESSES`, in a process each.
"""

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

LENGTH = 256
_POLLED = 0.05  # seconds

Made = tuple[int, float]  # tokens, seconds


def modelmill(shards: Path, processes: int, scratch: Path) -> Made:
    """Encode as the preprocessing step does: read, split, tokenise, pack and write, with the start of the processes.

    Args:
        shards: Folder of the shards.
        processes: How many processes.
        scratch: Folder for the result.
    """
    from modelmill.corpus.text.encoding import encode
    from modelmill.corpus.text.settings import LanguagePreprocessing
    from modelmill.data import shards as data_shards

    settings = LanguagePreprocessing(split_by="path", sequence_length=LENGTH)
    jobs = [
        (shard, shard.tag, settings, shards.parent / "tokenizer", scratch / shard.tag)
        for shard in data_shards.find(str(shards), "jsonl")
    ]
    started = time.perf_counter()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        made = list(pool.map(encode, *zip(*jobs, strict=True)))
    seconds = time.perf_counter() - started
    # We open every document with one token more than the peers do.
    return sum(n["tokens"] - n["documents"] for _, counts in made for n in counts.values()), seconds


def datasets_map(shards: Path, processes: int, scratch: Path) -> Made:
    """Encode by two maps, as in transformers' run_clm.py.

    The library gives each process one thread of the tokenizer's; loading the data before the maps is not counted.

    Args:
        shards: Folder of the shards.
        processes: How many processes.
        scratch: Folder for the result.
    """
    loaded, fast = _loaded(shards, scratch)

    def tokenised(rows: dict[str, list[Any]]) -> Any:
        return fast(rows["text"])

    def grouped(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        joined = {key: [item for row in rows[key] for item in row] for key in rows}
        total = len(joined["input_ids"]) // LENGTH * LENGTH
        result = {k: [t[i : i + LENGTH] for i in range(0, total, LENGTH)] for k, t in joined.items()}
        result["labels"] = result["input_ids"].copy()
        return result

    started = time.perf_counter()
    ids = loaded.map(tokenised, batched=True, num_proc=processes, remove_columns=loaded.column_names)
    ids.map(grouped, batched=True, num_proc=processes)
    return _tokens(ids), time.perf_counter() - started


def datasets_map_ids_only(shards: Path, processes: int, scratch: Path) -> Made:
    """Encode by one map without attention masks and labels, the least that a map can do.

    Args:
        shards: Folder of the shards.
        processes: How many processes.
        scratch: Folder for the result.
    """
    loaded, fast = _loaded(shards, scratch)

    def packed(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        ids = fast(rows["text"], return_attention_mask=False, return_token_type_ids=False)["input_ids"]
        joined = [token for row in ids for token in row]
        return {"input_ids": [joined[i : i + LENGTH] for i in range(0, len(joined), LENGTH)]}

    started = time.perf_counter()
    ids = loaded.map(packed, batched=True, num_proc=processes, remove_columns=loaded.column_names)
    return _tokens(ids), time.perf_counter() - started


def _loaded(shards: Path, scratch: Path) -> tuple[Any, Any]:
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    files = sorted(str(file) for file in shards.glob("*.jsonl"))
    loaded = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(scratch))
    return loaded, PreTrainedTokenizerFast(tokenizer_file=str(shards.parent / "tokenizer" / "tokenizer.json"))


def _tokens(made: Any) -> int:
    import pyarrow.compute

    return int(pyarrow.compute.sum(pyarrow.compute.list_value_length(made.data.column("input_ids"))).as_py())


PEERS: dict[str, Callable[[Path, int, Path], Made]] = {
    peer.__name__: peer for peer in (modelmill, datasets_map, datasets_map_ids_only)
}


class Peak(threading.Thread):
    """The peak memory of this process and its descendants in MiB.

    Shared memory counts once, and mapped files do not count.

    Attributes:
        mib: The peak so far.
    """

    def __init__(self) -> None:
        """Start to poll."""
        super().__init__(daemon=True)
        self.mib = 0.0
        self.start()

    def run(self) -> None:
        """Poll until the process ends."""
        tree = psutil.Process()
        while True:
            self.mib = max(self.mib, sum(map(_held, [tree, *tree.children(recursive=True)])) / 2**20)
            time.sleep(_POLLED)


def _held(process: psutil.Process) -> int:
    try:
        with open(f"/proc/{process.pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss_Anon:"))
    except OSError:
        return 0


def main(name: str, shards: str, processes: str) -> None:
    """Encode with one peer and print its figures.

    Args:
        name: Name of the peer.
        shards: Folder of the shards.
        processes: How many processes.
    """
    peak = Peak()
    with tempfile.TemporaryDirectory() as scratch:
        tokens, seconds = PEERS[name](Path(shards), int(processes), Path(scratch))
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_mib": peak.mib}))


if __name__ == "__main__":
    main(*sys.argv[1:])
