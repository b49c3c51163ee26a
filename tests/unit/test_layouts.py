"""Layouts of data beside tables: the rows that each becomes, what it is detected by, and what bad input says."""

import contextlib
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from modelmill.data import shards
from modelmill.data.layouts.detecting import detect
from modelmill.data.reading import blocks, conll
from modelmill.recipe.data import Data
from modelmill.tasks.token_classification import bio
from tests import layouts
from tests.layouts import BOXES, CONLL, IMAGES, SAMPLES, fails, only, read, write_all, write_tar
from tests.media import png, sound, tone

Row = dict[str, Any]
KINDS = {"common_voice": "audio", "librispeech": "audio", "conll": None}
VOICES = 'client_id\tpath\tsentence\tup_votes\nx\tone.mp3\tHe said "no\t2\nx\ttwo.mp3\tand left\t\n'


# --- images by class


def test_the_folder_of_an_image_is_its_class(tmp_path: Path) -> None:
    write_all(tmp_path, {"cat/b.png": png(1), "cat/a.png": png(2), "dog/a.png": png(3), "dog/notes.txt": "x"})
    found = shards.find(str(tmp_path), "auto", "images", layout="image_folder")
    assert [shard.path for shard in found] == ["cat", "dog"]
    rows = read(tmp_path, "image_folder")
    assert [only(row, "file", "label") for row in rows] == [["a.png", "cat"], ["b.png", "cat"], ["a.png", "dog"]]
    assert all(row["readable"] and row["width"] == 6 for row in rows) and "split" not in rows[0]
    data = Data(path=str(tmp_path), layout="image_folder", suite={})
    assert shards.ignored(data) == ["dog/notes.txt"] and data.media == "images"


def test_folders_of_splits_are_named(tmp_path: Path) -> None:
    write_all(tmp_path, {"train/cat/a.png": png(1), "test/cat/b.png": png(2)})
    rows = read(tmp_path, "image_folder")
    assert [only(row, "split", "label") for row in rows] == [["test", "cat"], ["train", "cat"]]


def test_what_changes_a_row_changes_its_shard_alone(tmp_path: Path) -> None:
    write_all(tmp_path, {"cat/a.png": png(1), "dog/b.png": png(2)})

    def tags() -> list[str]:
        return [one.tag for one in shards.find(str(tmp_path), "auto", "images", layout="image_folder")]

    seen = tags()
    time.sleep(0.02)  # the clock of a file system is coarse
    (tmp_path / "dog" / "b.png").write_bytes(png(9))
    assert tags()[0] == seen[0] and tags()[1] != seen[1]
    (tmp_path / "cat").rename(tmp_path / "cow")
    assert tags()[0] != seen[0], "its label is another"


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.txt": "x"}, r"no images there .*in the folder of its class"),
        ({"a.png": png()}, r"^data\.path: a\.png: an image lies at CLASS/NAME or SPLIT/CLASS/NAME; move it"),
        ({"a/b/c/d.png": png()}, r"a/b/c/d\.png: an image lies at"),
        ({"a/b.png": png(), "a/b/c.png": png()}, r"a/b\.png is of a class and a/b/c\.png of a class of a split"),
    ],
)
def test_images_in_no_folder_of_a_class_are_refused(tmp_path: Path, files: Any, message: str) -> None:
    assert re.search(message, fails(write_all(tmp_path, files), "image_folder"))


# --- metadata


@pytest.mark.parametrize(
    "name, text",
    [
        ("metadata.csv", "file_name,text\nx/a.png,one\n"),
        ("metadata.jsonl", '{"file_name": "x/a.png", "text": "one"}\n'),
    ],
)
def test_file_name_of_metadata_is_the_file(tmp_path: Path, name: str, text: str) -> None:
    write_all(tmp_path, {f"train/{name}": text, "train/x/a.png": png(), "train/other.csv": "q\n"})
    (row,) = read(tmp_path, "metadata")
    assert only(row, "file", "text", "readable") == ["x/a.png", "one", True] and "file_name" not in row
    assert detect(str(tmp_path)) == ("metadata", "images")


def objects(**changes: Any) -> str:
    """Metadata of IMAGES as Hugging Face has boxes; `changes` replace keys of the second image's objects."""
    rows = [
        {
            "file_name": name,
            "objects": {
                "bbox": [[left, top, right - left, bottom - top] for _, (left, top, right, bottom) in some],
                "categories": [label for label, _ in some],
            },
        }
        for name, some in BOXES.items()
    ]
    rows[1]["objects"] = {**rows[1]["objects"], **changes}  # type: ignore[dict-item]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_objects_of_hugging_face_become_what_coco_becomes(tmp_path: Path) -> None:
    write_all(tmp_path / "hub", {"metadata.jsonl": objects(), **IMAGES})
    layouts.write_coco(tmp_path / "coco")
    names = ("file", "boxes", "labels", "boxes_outside", "sha256")
    ours, theirs = read(tmp_path / "hub", "metadata"), read(tmp_path / "coco", "coco")
    assert [only(row, *names) for row in ours] == [only(row, *names) for row in theirs] and "objects" not in ours[0]
    numbered = {"file_name": "a.png", "objects": {"bbox": [[1, 0, 9, 2], [0, 0, 0, 1]], "category": [4, 11]}}
    write_all(tmp_path / "hub", {"metadata.jsonl": json.dumps(numbered) + "\n"})
    (row,) = read(tmp_path / "hub", "metadata")
    assert only(row, "labels", "boxes_outside") == [["4", "11"], 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [[1, 0, 5]], "categories": ["dog"]}, "metadata.jsonl: row 2: bbox [1, 0, 5] is not x, y, width and"),
        (
            {"categories": ["dog"]},
            "metadata.jsonl: row 2: 'objects' has no lists 'bbox' and 'categories' of one length",
        ),
        ({"categories": None}, "row 2: 'objects' has no lists 'bbox' and 'categories'"),
    ],
)
def test_objects_that_do_not_fit_are_refused_by_row(tmp_path: Path, changes: Any, message: str) -> None:
    write_all(tmp_path, {"metadata.jsonl": objects(**changes), **IMAGES})
    assert message in fails(tmp_path, "metadata")


def test_metadata_without_names_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path, {"metadata.csv": "file,text\na.png,one\n", "a.png": png()})
    assert "metadata.csv: no column 'file_name' that names the files; its columns: file, text" in fails(
        tmp_path, "metadata"
    )
    assert detect(str(tmp_path)) == ("table", None)


# --- boxes


def test_coco_is_read_as_pycocotools_reads_it(tmp_path: Path) -> None:
    layouts.write_coco(tmp_path)
    rows = read(tmp_path, "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "annotations" / "instances_val2017.json"))
    for row in rows:
        found = theirs.loadAnns(theirs.getAnnIds(imgIds=[row["image_id"]], iscrowd=False))
        boxes = [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in found)]
        assert row["boxes"] == boxes and row["labels"] == [theirs.cats[one["category_id"]]["name"] for one in found]
    assert [row["file"] for row in rows] == list(IMAGES) and [row["crowds"] for row in rows] == [1, 0, 0]
    assert [row["masks"] for row in rows] == [1, 0, 0] and [row["boxes_outside"] for row in rows] == [0, 0, 0]


@pytest.mark.parametrize("place", ["annotations/instances_val2017.json", "annotations/*.json", "annotations", ""])
def test_coco_finds_its_images_from_any_path(tmp_path: Path, place: str) -> None:
    layouts.write_coco(tmp_path)
    assert [row["readable"] for row in read(f"{tmp_path}/{place}".rstrip("/"), "coco")] == [True] * 3


def test_an_image_of_coco_is_looked_for_in_the_folder_that_the_annotations_are_named_after(tmp_path: Path) -> None:
    layouts.write_coco(tmp_path)
    write_all(tmp_path, {"train2017/a.png": png(200)})
    rows = read(tmp_path, "coco")
    assert rows[0]["brightness"] < 0.1
    (tmp_path / "annotations" / "instances_val2017.json").rename(tmp_path / "annotations" / "x.json")
    assert "image a.png is both" in fails(tmp_path, "coco")


def test_annotations_that_begin_with_an_underscore_are_found(tmp_path: Path) -> None:
    write_all(tmp_path, {"_annotations.coco.json": json.dumps(layouts.coco()), **IMAGES})
    assert [row["readable"] for row in read(tmp_path, "coco")] == [True] * 3


def without(key: str, place: int = 0, of: str = "annotations") -> Row:
    document = layouts.coco()
    del document[of][place][key]
    return {of: document[of]}


def other(key: str, value: Any, place: int = 0, of: str = "annotations") -> Row:
    document = layouts.coco()
    document[of][place][key] = value
    return {of: document[of]}


BAD_COCO: dict[str, tuple[Row, str]] = {
    "no list": ({"categories": None}, "no COCO annotations: it has no list 'categories'; narrow data.path"),
    "no object": ({"images": [1]}, "images: number 1 is no object"),
    "no name": (without("file_name", 1, "images"), "images: number 2 lacks a whole `id` or a `file_name`"),
    "same id": (other("id", 1, 1, "images"), "images: id 1 is there twice"),
    "same class": (other("name", "cat", 1, "categories"), "categories: 'cat' is the name of two; rename one"),
    "class without a name": (other("name", "", 1, "categories"), "categories: each needs an `id` of its own"),
    "no box": (without("bbox", 1), "annotation 2: bbox None is not x, y, width and height"),
    "text": (other("bbox", [0, 0, "1", 1]), "annotation 1: bbox [0, 0, '1', 1] is not"),
    "no image": (other("image_id", 77), "annotation 1: image_id 77 is none of `images`"),
    "no class": (other("category_id", [7]), "annotation 1: category_id [7] is none of `categories`"),
    "leads out": (other("file_name", "../a.png", 0, "images"), "'../a.png' is not a path below"),
    "other size": (
        {"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 6}], "annotations": []},
        "a.png (row 1): annotated as 4 x 6 pixels, and has 6 x 4 upright",
    ),
}


@pytest.mark.parametrize("changes, message", BAD_COCO.values(), ids=BAD_COCO)
def test_wrong_annotations_are_refused_by_name(tmp_path: Path, changes: Row, message: str) -> None:
    layouts.write_coco(tmp_path, **changes)
    assert message in fails(tmp_path, "coco")


def test_yolo_becomes_what_coco_becomes(tmp_path: Path) -> None:
    ours, theirs = (
        {row["file"]: only(row, "boxes", "labels", "boxes_outside") for row in rows}
        for rows in (
            read(layouts.write_yolo(tmp_path / "yolo"), "yolo"),
            read(layouts.write_coco(tmp_path / "coco"), "coco"),
        )
    )
    for name, (boxes, labels, outside) in theirs.items():
        assert ours[name][1:] == [labels, outside] and labels == [label for label, _ in BOXES[name]]
        assert [side for box in ours[name][0] for side in box] == pytest.approx(
            [side for box in boxes for side in box], abs=1e-4
        )
    assert {row["split"] for row in read(tmp_path / "yolo", "yolo")} == {"train"}


def test_a_polygon_becomes_the_box_around_it(tmp_path: Path) -> None:
    layouts.write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text("1 0.5 0.25 1 0.5 0.5 1 0.5 0.75\n")
    assert only(read(tmp_path, "yolo")[0], "boxes", "labels") == [[[3, 1, 6, 4]], ["dog"]]


def test_boxes_that_leave_the_image_or_have_no_area_are_counted(tmp_path: Path) -> None:
    layouts.write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 1.2 0.5\n1 0.5 0.5 0 0.5\n0 0.5 0.5 1.000001 1\n")
    (row, *_) = read(tmp_path, "yolo")
    assert row["boxes_outside"] == 2 and row["boxes"][2] == [0, 0, 6, 4], "less than a hundredth of a pixel"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("labels/train/a.txt", "0 0.5 0.5 1 1\n2 0.5 0.5 1 1\n", "labels/train/a.txt:2: class 2, and `names` has 2"),
        ("labels/train/a.txt", "cat 0.5 0.5 1 1\n", "a.txt:1: 'cat 0.5 0.5 1 1' is not a class's number and numbers"),
        ("labels/train/a.txt", "0 0.5 0.5 1\n", "a.txt:1: 4 numbers; a line has a class, then x, y, width and height"),
        ("labels/train/a.txt", "0 0.5 nan 1 1\n", "a.txt:1: a number is not finite"),
        ("data.yaml", "names: {1: cat, 2: dog}\n", "data.yaml: names: write the classes as a list, or as a mapping"),
        ("data.yaml", "names: [cat, cat]\n", "data.yaml: names: 'cat' is there twice; rename one"),
        ("data.yaml", "names: [cat\n", "data.yaml: not valid YAML"),
        (
            "data.yaml",
            "train: images\n",
            "one YAML file with the `names` of the classes belongs at the top; there is none",
        ),
        ("more.yaml", "names: [x]\n", "there is data.yaml, more.yaml"),
    ],
)
def test_wrong_boxes_of_yolo_are_refused_by_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    layouts.write_yolo(tmp_path)
    (tmp_path / name).write_text(text)
    assert message in fails(tmp_path, "yolo")


def test_images_without_any_boxes_are_refused(tmp_path: Path) -> None:
    layouts.write_yolo(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "boxes")
    assert "no files of boxes there, such as labels/train/a.txt for images/train/a.png" in fails(tmp_path, "yolo")


# --- recordings


def test_common_voice_becomes_recordings_with_transcripts(tmp_path: Path) -> None:
    clips = {f"clips/{name}.mp3": sound(tone(0.2), format="MP3") for name in ("one", "two")}
    write_all(tmp_path, {"train.tsv": VOICES, "validated.tsv": VOICES, "invalidated.tsv": VOICES, **clips})
    rows = read(tmp_path, "common_voice", "audio")
    assert [only(row, "file", "transcript", "up_votes", "readable") for row in rows] == [
        ["clips/one.mp3", 'He said "no', 2, True],
        ["clips/two.mp3", "and left", None, True],
    ]
    assert rows[0]["seconds"] == pytest.approx(0.2, abs=0.05)
    assert len(read(tmp_path / "*.tsv", "common_voice", "audio")) == 6, "a pattern names its tables"


@pytest.mark.parametrize(
    "text, message",
    [
        ("client_id\tpath\n", "train.tsv:1: no column 'sentence', which a table of Common Voice has"),
        (VOICES + "x\ty\n", "train.tsv:4: 2 fields, the header has 4; correct the line"),
        (VOICES.replace("\t2", "\tmany"), "train.tsv:2: column 'up_votes': 'many' is no integer"),
    ],
)
def test_a_wrong_table_of_common_voice_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    write_all(tmp_path, {"train.tsv": text})
    assert message in fails(tmp_path, "common_voice", "audio")


def test_librispeech_becomes_recordings_with_transcripts(tmp_path: Path) -> None:
    chapter = "train-clean-100/19/198/19-198"
    flac = sound(tone(0.2), format="FLAC")
    text = "19-198-0000 NORTHANGER ABBEY\n19-198-0001 THIS LITTLE WORK\n"
    write_all(tmp_path, {f"{chapter}.trans.txt": text, f"{chapter}-0000.flac": flac, f"{chapter}-0001.flac": flac})
    rows = read(tmp_path, "librispeech", "audio")
    assert [only(row, "file", "transcript", "speaker", "chapter", "readable") for row in rows] == [
        ["19-198-0000.flac", "NORTHANGER ABBEY", "19", "198", True],
        ["19-198-0001.flac", "THIS LITTLE WORK", "19", "198", True],
    ]
    write_all(tmp_path, {f"{chapter}.trans.txt": "19-198-0000 A\n19-198\n"})
    assert "19-198.trans.txt:2: '19-198' is not SPEAKER-CHAPTER-NUMBER and a transcript" in fails(
        tmp_path, "librispeech", "audio"
    )


# --- tags of tokens


@pytest.mark.parametrize("text", [CONLL, CONLL.replace(" ", "\t"), CONLL.replace("\n", "\r\n"), CONLL.rstrip("\n")])
def test_a_sentence_of_conll_is_a_row(tmp_path: Path, text: str) -> None:
    write_all(tmp_path, {"train.conll": text})
    assert read(tmp_path, "conll", None) == [
        {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]},
        {"tokens": ["Paris"], "tags": ["B-LOC"]},
    ]


def test_conll_is_the_same_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path, {"train.conll": CONLL})
    whole = read(tmp_path, "conll", None)
    monkeypatch.setattr(blocks, "_CHUNK", 3)
    monkeypatch.setattr(conll, "BLOCK", 1)
    assert read(tmp_path, "conll", None) == whole


def test_conll_u_has_parts_of_speech(tmp_path: Path) -> None:
    lines = [
        "# text = vámonos",
        "1-2\tvámonos\t_\t_\t_",
        "1\tvamos\tir\tVERB\t_",
        "1.1\tx\t_\t_\t_",
        "2\tnos\tnosotros\tPRON\t_",
    ]
    text = "".join(f"{line}{'' if line[0] == '#' else 5 * (chr(9) + '_')}\n" for line in lines)
    write_all(tmp_path, {"es.conllu": text})
    assert read(tmp_path, "conll", None) == [{"tokens": ["vamos", "nos"], "tags": ["VERB", "PRON"]}]


def test_the_scheme_of_conll_2003_is_read_by_its_name(tmp_path: Path) -> None:
    """Its first lines: an entity begins with I-, and with B- only beside one of its kind."""
    words = ["U.N.\tI-ORG", "official\tO", "Ekeus\tI-PER", "Rolf\tB-PER", "Baghdad\tI-LOC"]
    write_all(tmp_path, {"eng.train.txt": "\n".join(words) + "\n"})
    (row,) = read(tmp_path, "conll", None)
    assert row["tags"] == ["I-ORG", "O", "I-PER", "B-PER", "I-LOC"]
    assert bio.converted(row["tags"], "iob1") == ["B-ORG", "O", "B-PER", "B-PER", "B-LOC"]
    with pytest.raises(bio.WrongTag, match="tag 1 is 'I-ORG', and nothing is before it"):
        bio.converted(row["tags"], "bio")


def test_wrong_lines_of_conll_are_refused(tmp_path: Path) -> None:
    write_all(tmp_path, {"train.conll": "Ada NNP B-PER\nwrote O\n"})
    assert "train.conll:2: 2 columns, the lines before have 3; correct the line" in fails(tmp_path, "conll", None)
    write_all(tmp_path, {"train.conll": "Ada\n"})
    assert "train.conll:1: 'Ada': a line of CoNLL has a token and a tag" in fails(tmp_path, "conll", None)


# --- detection and settings


Write = Callable[[Path], Path]
DETECTED: dict[str, tuple[Write, tuple[str, str | None]]] = {
    "image_folder": (lambda at: write_all(at, {"x/a.png": png()}), ("image_folder", "images")),
    "coco": (layouts.write_coco, ("coco", "images")),
    "yolo": (layouts.write_yolo, ("yolo", "images")),
    "common_voice": (lambda at: write_all(at, {"train.tsv": VOICES}), ("common_voice", "audio")),
    "librispeech": (lambda at: write_all(at, {"1/2/1-2.trans.txt": "1-2-3 A\n"}), ("librispeech", "audio")),
    "conll": (lambda at: write_all(at, {"train.txt": CONLL}), ("conll", None)),
    "webdataset": (lambda at: write_tar(at / "a.tar", SAMPLES).parent, ("webdataset", "images")),
    "texts of a tar": (lambda at: write_tar(at / "a.tar", {"0.txt": "x"}).parent, ("webdataset", None)),
    "manifest": (lambda at: write_all(at, {"x/a.png": png(), "a.csv": "file\nx/a.png\n"}), ("table", None)),
    "prose": (lambda at: write_all(at, {"a.txt": "it was O\n\nso B-X\nand on\n"}), ("table", None)),
    "rows": (lambda at: write_all(at, {"a.jsonl": '{"images": 1}\n', "b.json": "[]"}), ("table", None)),
}


@pytest.mark.parametrize("write, wanted", DETECTED.values(), ids=DETECTED)
def test_a_layout_is_detected_by_its_files(tmp_path: Path, write: Write, wanted: tuple[str, str | None]) -> None:
    assert detect(str(write(tmp_path))) == wanted


def test_a_layout_says_what_its_rows_name() -> None:
    assert Data(path="x", layout="coco", suite={}).media == "images"
    assert Data(path="x", layout="librispeech", suite={}).media == "audio"
    for layout, media in (("coco", "audio"), ("conll", "images"), ("metadata", None)):
        with pytest.raises(ValueError, match=f"media: with layout {layout} it is"):
            Data.model_validate({"path": "x", "layout": layout, "media": media, "suite": {}})
    with pytest.raises(ValueError, match="format: layout coco has its own"):
        Data.model_validate({"path": "x", "layout": "coco", "format": "json", "suite": {}})


@pytest.mark.parametrize(
    "layout", ["image_folder", "metadata", "coco", "yolo", "common_voice", "librispeech", "conll", "webdataset"]
)
def test_a_folder_without_a_layout_is_refused_and_says_where_to_look(tmp_path: Path, layout: str) -> None:
    write_all(tmp_path, {"a.bin": b"x"})
    assert "modelmill data profile tells the layout" in fails(tmp_path, layout, KINDS.get(layout, "images"))
