"""Corpora that are larger than memory: what is known of rows, and which shards are read again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, row_notes, streaming
from modelmill.corpus.example_shards import ShardedExamples, ShardedWriter, of_text
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.split import SPLITS
from modelmill.data.media_files import Kind
from modelmill.store import manifest
from modelmill.tasks.image_classification.recipe import ImagePreprocessing
from modelmill.tasks.text_classification.recipe import TextPreprocessing
from tests import media
from tests.prepared import Prepared, found

COLUMNS = {"preprocessing.text": "text", "preprocessing.label": "label"}
HALVES = {"validation": 0.2, "test": 0.2}


def write(folder: Path, name: str, rows: range, text: str = "text") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": f"{text} {row}", "label": "ab"[row % 2], "group": row // 3}) for row in rows]
    (folder / name).write_text("".join(line + "\n" for line in lines))


def prepared(folder: Path, **settings: object) -> Prepared:
    return Prepared(folder, "text_classification", TextPreprocessing.model_validate({**HALVES, **settings}))


@pytest.mark.parametrize("split_by", [None, "group"])
def test_rows_have_the_splits_and_identities_of_data_in_memory(
    tmp_path: Path, split_by: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_notes, "ROWS_AT_ONCE", 7)
    for number in range(3):
        write(tmp_path / "data", f"{number}.jsonl", range(number * 20, number * 20 + 17))
    step, shards = prepared(tmp_path, split_by=split_by).step(), found(tmp_path / "data")
    whole = in_memory.read(step, shards, COLUMNS)
    noted = row_notes.note(step, shards, COLUMNS, ["label"])
    assert noted.rows.splits.tolist() == whole.splits.tolist() and noted.rows.ids.tolist() == whole.ids.tolist()
    assert noted.rows.columns == {"label": whole.columns["label"]}
    mask = np.arange(51) % 3 == 0
    chosen = noted.where(in_memory.chosen(noted.rows, mask))
    texts = [
        (text, split, identity)
        for (shard, sha256), rows in zip(shards, chosen, strict=True)
        for piece in streaming.pieces(shard, sha256, rows)
        for text, split, identity in zip(piece.values("text"), piece.splits, piece.ids, strict=True)
    ]
    known = zip(whole.columns["text"], whole.splits.tolist(), whole.ids.tolist(), strict=True)
    assert texts == [one for one, keep in zip(known, mask, strict=True) if keep]


def test_files_count_by_their_content_and_must_stay_as_they_were(tmp_path: Path) -> None:
    pictures = {f"images/{number}.png": media.png(number) for number in range(9)}
    pictures |= {"images/broken.png": b"x", "images/copy.png": media.png(3)}
    media.write(tmp_path, pictures)
    step = prepared(tmp_path / "work").step()
    from modelmill.data import shards as finding

    (shard,) = finding.find(str(tmp_path / "a.csv"), "auto", "images", "leave_out")
    shards = [(shard, finding.read(shard)[1])]
    noted = row_notes.note(step, shards, {}, look=_widths)
    whole = in_memory.read(step, shards, {})
    assert noted.rows.ids.tolist() == whole.ids.tolist() and noted.rows.ids[3] == noted.rows.ids[9]
    assert noted.shards[0].rows.tolist() == list(range(10)) and noted.notes["width"].tolist() == [6] * 10
    (piece,) = streaming.pieces(*shards[0], noted.shards[0])
    assert [file.name for file in piece.files] == [file.name for file in whole.files]
    from modelmill.corpus.media import images

    assert [int(pixels[0, 0, 0]) for pixels in images(piece.files)] == [*range(9), 3]
    wrong = [file._replace(sha256="0" * 64) for file in piece.files]
    with pytest.raises(UserError, match=r"a.csv: images/0.png: changed since it was validated; run again"):
        list(images(wrong))


def _widths(piece: Piece) -> dict[str, np.ndarray]:
    return {"width": np.array(piece.values("width"))}


def _texts(piece: Piece, writer: ShardedWriter) -> dict[str, dict[str, int]]:
    for split, identity, text in zip(piece.splits, piece.ids, piece.values("text"), strict=True):
        writer.add(split, identity, {"text": of_text(text)})
    longest = max(map(len, piece.values("text")))
    return {"all": {"texts": len(piece.ids), "most_characters": longest}}


def test_one_new_shard_costs_one_shard_and_so_do_rows_left_out(tmp_path: Path) -> None:
    write(tmp_path / "data", "a.jsonl", range(40))
    write(tmp_path / "data", "c.jsonl", range(60, 90))
    at = prepared(tmp_path)

    def encode(left_out: int | None = None) -> tuple[int, list[str]]:
        step, shards = at.step(), found(tmp_path / "data")
        noted = row_notes.note(step, shards, COLUMNS)
        mask = np.arange(len(noted.rows.ids)) != left_out
        encoded, new = streaming.encode(step, shards, noted.where(in_memory.chosen(noted.rows, mask)), _texts, "")
        assert streaming.count(encoded, "all", "texts") == mask.sum()
        assert streaming.count(encoded, "all", "most_characters") == 7
        files = manifest.fetch(
            at.store, [e for n, one in enumerate(encoded) for e in one.numbered(n)], tmp_path / "files"
        )
        assert not list(step.scratch.glob("encoding/*")), "the store has it"
        return new, [
            ShardedExamples(files, split).text("text", n)
            for split in SPLITS
            for n in range(len(ShardedExamples(files, split)))
        ]

    new, texts = encode()
    assert new == 2 and sorted(texts) == sorted(f"text {n}" for n in (*range(40), *range(60, 90)))
    assert encode() == (0, texts)
    write(tmp_path / "data", "b.jsonl", range(40, 60))
    new, texts = encode()
    assert new == 1 and sorted(texts) == sorted(f"text {n}" for n in range(90))
    new, texts = encode(left_out=45)
    assert new == 1 and sorted(texts) == sorted(f"text {n}" for n in range(90) if n != 45)


LIMITED = """
import resource, sys, threading
from pathlib import Path

from modelmill.corpus import in_memory, media, row_notes
from tests.unit.test_streaming import make_small, of_images

threading.stack_size(1 << 18)  # stacks of decoders would fill the room
folder, room = Path(sys.argv[1]), int(sys.argv[2])
at = of_images(folder)
at.make(folder / "few", "images")  # libraries and threads are there now
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + room, used + room))
if sys.argv[3] == "whole":
    step, shards = at.step(), make_small(folder)
    media.squares(step, in_memory.read(step, shards, {}).files, step.recipe.preprocessing)
else:
    made, _ = at.make(folder / "many", "images")
    print(made.metrics["train_examples"] + made.metrics["validation_examples"] + made.metrics["test_examples"])
"""


def of_images(folder: Path) -> Prepared:
    settings = ImagePreprocessing.model_validate({**HALVES, "size": 256, "channels": 3})
    return Prepared(folder / "work", "image_classification", settings)


def make_small(folder: Path, media: Kind = "images") -> object:
    return found(folder / "many", media)


@pytest.mark.parametrize("how", ["streamed", "whole"])
def test_preprocessing_makes_a_corpus_that_its_memory_could_not_hold(tmp_path: Path, how: str) -> None:
    count, room = 200, 20 << 20
    for name, number in (("few", 40), ("many", count)):
        pictures = {f"images/{n}.png": media.png(n % 250, (256, 256 + n)) for n in range(number)}
        media.write(tmp_path / name, pictures)
    assert count * 3 * 256 * 256 > room * 1.7
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(room), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if how == "whole":  # the limit is one
        assert done.returncode == 1 and "MemoryError" in done.stderr, done.stderr
    else:
        assert done.stdout.strip() == str(count), done.stderr
