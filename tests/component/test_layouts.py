"""Layouts of data through validation and preprocessing: what a folder, a bucket and a manifest make alike."""

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmill.core.errors import UserError
from modelmill.corpus.example_shards import ShardedExamples
from modelmill.corpus.split import SPLITS
from modelmill.pipelines.commands.data.arguments import find_layout, find_shards
from modelmill.store import manifest
from tests import cli, layouts, media, recipes
from tests.component.steps import Steps
from tests.component.test_media import upload
from tests.layouts import SAMPLES, write_all, write_tar
from tests.media import png
from tests.pipeline import test_image_classification, test_image_detection
from tests.seaweedfs import SeaweedFS

BARS = test_image_classification.RECIPE
SHAPES = test_image_detection.RECIPE


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


def examples(at: Steps, folder: str, names: list[str], arrays: list[str]) -> dict[str, list[list[Any]]]:
    """The examples of each split in order: an id, its values, and those in arrays beside the parts."""
    files = manifest.fetch(at.store, at.corpus().entries, at.folder / "fetched")
    found: dict[str, list[list[Any]]] = {}
    for split in SPLITS:
        parts = ShardedExamples(files, f"{split}/{folder}".rstrip("/"))
        beside = [np.load(files[f"{split}/{name}.npy"]).tolist() for name in arrays]
        found[split] = [
            [int(parts.ids[n]), *(parts.get(name, n).tolist() for name in names), *(array[n] for array in beside)]
            for n in range(len(parts))
        ]
    return found


def write_bars_by_class(folder: Path, count: int = 30) -> None:
    """The images of the test of classification, in a folder for each class."""
    for kind in media.BAR_KINDS:
        bars = {f"{kind}/{n}.png": test_image_classification.bar(kind, n) for n in range(count)}
        write_all(folder, dict(bars))


def test_images_by_class_become_the_corpus_that_their_manifest_becomes(tmp_path: Path) -> None:
    test_image_classification.write_images(tmp_path / "data", count=30)
    write_bars_by_class(tmp_path / "folders")
    by_manifest = Steps(recipes.write(tmp_path / "a", BARS, data__path=str(tmp_path / "data")), tmp_path / "a")
    folder = {"data__path": str(tmp_path / "folders"), "data__layout": "image_folder", "preprocessing__label": "label"}
    by_folder = Steps(recipes.write(tmp_path / "b", BARS, **folder), tmp_path / "b")
    ours, theirs = (examples(at, "", ["images"], ["labels", "others"]) for at in (by_folder, by_manifest))
    for split, expected in theirs.items():
        assert expected and sorted(ours[split]) == sorted(expected)


def write_shapes_as_coco(folder: Path, pictures: int = 24, **changes: Any) -> None:
    """The pictures of the test of detection, described as COCO does; `changes` replace keys of the first annotation."""
    rows = test_image_detection.write_pictures(folder, pictures, 0)["pictures"]
    names = list(test_image_detection.SHAPES)
    images = [{"id": n, "file_name": row["file"], "width": 48, "height": 48} for n, row in enumerate(rows)]
    annotations = [
        {
            "id": 1000 * n + place,
            "image_id": n,
            "category_id": names.index(label),
            "bbox": [left, top, right - left, bottom - top],
        }
        for n, row in enumerate(rows)
        for place, (label, (left, top, right, bottom)) in enumerate(zip(row["labels"], row["boxes"], strict=True))
    ]
    annotations[0] |= changes
    categories = [{"id": n, "name": name} for n, name in enumerate(names)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_all(folder, {"annotations/instances_train.json": json.dumps(document)})
    for file in folder.glob("*.jsonl"):
        file.unlink()


def test_coco_becomes_the_corpus_that_its_manifest_becomes(tmp_path: Path) -> None:
    test_image_detection.write_pictures(tmp_path / "data", 24, 0)
    (tmp_path / "data" / "singles.jsonl").unlink(missing_ok=True)
    write_shapes_as_coco(tmp_path / "coco")
    by_file = {"preprocessing__split_by": "file"}  # a manifest may have whole numbers, which are other texts
    manifests = recipes.write(tmp_path / "a", SHAPES, data__path=str(tmp_path / "data"), **by_file)
    coco = {"data__path": str(tmp_path / "coco"), "data__layout": "coco"}
    annotations = recipes.write(tmp_path / "b", SHAPES, **coco, **by_file)
    both = Steps(annotations, tmp_path / "b"), Steps(manifests, tmp_path / "a")
    ours, theirs = (examples(at, "pictures", ["images", "boxes", "labels"], []) for at in both)
    for split, expected in theirs.items():
        assert expected and [values for _, *values in ours[split]] == [values for _, *values in expected]


def test_a_box_that_leaves_its_picture_breaks_the_contract_or_is_refused(tmp_path: Path) -> None:
    write_shapes_as_coco(tmp_path / "data", bbox=[40, 2, 9, 12])
    recipe = recipes.write(tmp_path, SHAPES, data__layout="coco", data__path=str(tmp_path / "data"))
    at = Steps(recipe, tmp_path / "0")
    dataset = at.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = at.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2 and "box [40, 2, 49, 14] is not in the picture of 48 x 48 pixels" in message
    suite = {
        "name": "boxes",
        "expectations": [expect("column_values_to_be_in_set", column="boxes_outside", value_set=[0])],
    }
    strict = Steps(
        recipes.write(tmp_path, SHAPES, suite=suite, data__layout="coco", data__path=str(tmp_path / "data")),
        tmp_path / "1",
    )
    code, message = strict.fails("data_validation", ["dataset", "validation"])
    assert code == 3 and "(boxes_outside) 1 of 24 rows" in message and "\n" not in message


@pytest.mark.parametrize("layout", ["image_folder", "coco", "yolo", "webdataset"])
def test_a_layout_in_a_bucket_is_the_dataset_that_it_is_in_a_folder(
    tmp_path: Path, seaweedfs: SeaweedFS, bucket: str, layout: str
) -> None:
    data = tmp_path / "data"
    if layout == "image_folder":
        write_all(data, {f"{label}/{n}.png": png(n + 5 * len(label)) for label in ("a", "bb") for n in range(3)})
    elif layout == "webdataset":
        write_tar(data / "0.tar", SAMPLES)
    else:
        {"coco": layouts.write_coco, "yolo": layouts.write_yolo}[layout](data)
    made = []
    for path in (str(data), upload(seaweedfs, bucket, data)):
        changes = {"data__layout": layout, "data__media": "images", "data__path": path}
        at = Steps(recipes.write(tmp_path / uuid.uuid4().hex, BARS, **changes), tmp_path / uuid.uuid4().hex)
        made.append(at.call("data_validation", ["dataset", "validation"])["dataset"])
        at.call("data_validation", ["dataset", "validation"])
        assert at.record("data_validation").status == "reused"
    assert made[0] == made[1] and made[0].info["media"] == "images" and made[0].info["rows"] > 1


def test_profile_tells_the_layout_and_drafts_a_suite_that_validate_keeps(tmp_path: Path) -> None:
    layouts.write_coco(tmp_path / "data")
    suite = tmp_path / "suite.json"
    drafted = cli.modelmill("data", "profile", tmp_path / "data", "-o", suite)
    assert drafted.returncode == 0 and "data: {layout: coco, media: images}" in drafted.stdout, drafted.stderr
    judged = cli.modelmill("data", "validate", tmp_path / "data", "--suite", suite, "--json")
    assert judged.returncode == 0 and json.loads(judged.stdout)["rows"] == 3, judged.stderr
    outside = layouts.coco()["annotations"]
    outside[0]["bbox"] = [0, 0, 9, 1]
    layouts.write_coco(tmp_path / "data", annotations=outside)
    judged = cli.modelmill("data", "validate", tmp_path / "data", "--suite", suite)
    assert judged.returncode == 3 and "boxes_outside" in judged.stdout


def test_options_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    layouts.write_coco(tmp_path)
    for layout, kind, format_, why in (
        ("yolo", None, "auto", "one YAML file with the `names`"),
        ("voc", None, "auto", "--layout voc: table, image_folder"),
        ("coco", "audio", "auto", "--media: with layout coco it is images, not audio"),
        ("coco", None, "json", "--format json: layout coco has its own, leave it out"),
        (None, "video", "auto", "--media video: images or audio"),
        (None, "audio", "auto", "no manifest there"),
    ):
        with pytest.raises(UserError, match=why.replace("(", r"\(")) as error:
            find_shards(str(tmp_path), format_, find_layout(str(tmp_path), format_, kind, layout), [])
        assert "\n" not in str(error.value)
