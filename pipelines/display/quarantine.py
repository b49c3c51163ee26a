"""Quarantined shards and unusable files, as lines for people."""

import json
from typing import Any

from modelmill.pipelines.display.text import printable


def show(run_id: str, left_out: dict[str, list[dict[str, Any]]]) -> None:
    """Print every unusable file, every malformed row and every quarantined shard of a run."""
    shards, files, malformed = left_out["shards"], left_out["files"], left_out["rows"]
    show_unusable(files)
    show_malformed(malformed)
    for shard in shards:
        rows = "unreadable" if shard["rows"] is None else "1 row" if shard["rows"] == 1 else f"{shard['rows']:,} rows"
        print(f"{printable(shard['path'])}  {rows}  {printable(shard['why'])}")
    counted = ""
    for gone, what in ((files, "with an unusable file"), (malformed, "that are malformed")):
        counted += f", {len(gone)} {'row' if len(gone) == 1 else 'rows'} {what} left out" if gone else ""
    print(f"run {run_id}: {len(shards)} {'shard' if len(shards) == 1 else 'shards'} quarantined{counted}")


def show_shard(shard: dict[str, Any]) -> None:
    """Print why a shard was quarantined, and samples of its bad rows."""
    print(f"{printable(shard['path'])}: {printable(shard['why'])}")
    for sample in shard["samples"]:
        print(f"row {sample['row']}  {json.dumps(sample['value'], ensure_ascii=True)}  {printable(sample['rule'])}")


def show_unusable(files: list[dict[str, Any]]) -> None:
    """Print the rows whose image or recording cannot be used."""
    for one in files:
        print(f"{printable(one['file'])}  {printable(one['shard'])} row {one['row']}  {printable(one['why'])}")


def show_malformed(rows: list[dict[str, Any]]) -> None:
    """Print the rows that are no conversation of their format, with the beginning of the first ones."""
    for one in rows:
        sample = f"  {json.dumps(one['sample'], ensure_ascii=True)}" if one["sample"] else ""
        print(f"{printable(one['shard'])} row {one['row']}  {printable(one['why'])}{sample}")
