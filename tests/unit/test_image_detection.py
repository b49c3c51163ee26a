"""A detector: what its maps are to say, boxes and how precise they are, augmentation, and trivial detectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from modelmill.store.manifest import Manifest
from modelmill.tasks.image_detection import baseline, demo, evaluate, losses, objects, pictures, preprocess
from modelmill.tasks.image_detection.augmentation import GREY, vary
from modelmill.tasks.image_detection.decoding import decode
from modelmill.tasks.image_detection.detection import IOUS, Boxes, matched, mean_average_precision, overlaps
from modelmill.tasks.image_detection.network import STRIDE, Detector
from modelmill.tasks.image_detection.recipe import DetectorModel
from modelmill.tasks.image_detection.task import ImageDetection, picture_losses

BOXES = torch.tensor([[[8.0, 8.0, 24.0, 32.0], [40.0, 36.0, 56.0, 60.0], [0.0, 0.0, 0.0, 0.0]]])
LABELS = torch.tensor([[1, 2, -1]])
CLASSES = 3


def some(*rows: tuple[float, float, float, float, int, float]) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def perfect_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """What a network that knows `BOXES` says."""
    near = losses.peaks(BOXES, LABELS, 16, 16)
    heat = torch.full((1, CLASSES, 16, 16), -20.0)
    sides = torch.full((1, 4, 16, 16), 1.0)
    for place, label in ((0, 1), (1, 2)):
        row, column = divmod(int(near[0, place].argmax()), 16)
        middle = torch.tensor([column + 0.5, row + 0.5]) * STRIDE
        heat[0, label, row, column] = 20.0
        box = BOXES[0, place]
        everywhere = losses.middles(16, 16, BOXES.device)
        inside = near[0, place] > 0
        distances = torch.cat([everywhere - box[:2, None, None], box[2:, None, None] - everywhere])
        sides[0] = torch.where(inside & (near[0, place] >= near[0, 1 - place]), distances, sides[0])
        assert torch.equal(torch.cat([middle - box[:2], box[2:] - middle]), sides[0, :, row, column])
    return heat, sides


def test_maps_that_say_the_boxes_cost_next_to_nothing_and_are_read_as_them() -> None:
    heat, sides = perfect_maps()
    right = float(picture_losses(heat, sides, BOXES, LABELS))
    assert right < 0.01
    found = decode(heat, sides, 0.01)[0]
    order = np.argsort(found.labels)
    assert found.labels[order].tolist() == [1, 2] and np.allclose(found.boxes[order], BOXES[0, :2])
    assert float(picture_losses(heat.roll(1, 1), sides, BOXES, LABELS)) > right + 10, "another class"
    assert float(picture_losses(heat, sides / 2, BOXES, LABELS)) > right + 0.5, "boxes half as large"


def test_a_cell_near_the_middle_is_forgiven_more_than_one_far_from_it() -> None:
    near = losses.peaks(BOXES, LABELS, 16, 16)
    assert near[0, 0].max() == near[0, 0, 5, 4] == 1 and not near[0, 2].any()

    def with_one_more(row: int, column: int) -> float:
        heat, _ = perfect_maps()
        heat[0, 1, row, column] = 3.0
        return float(losses.heat_loss(heat, near, LABELS))

    assert with_one_more(5, 4) < 0.1 < with_one_more(6, 4) < with_one_more(12, 4)


def test_the_loss_of_boxes_is_one_less_their_overlap() -> None:
    box = BOXES[:, :1]
    near = losses.peaks(box, LABELS[:, :1], 16, 16)
    only = (near == 1).float()
    sides = torch.zeros(1, 4, 16, 16)
    sides[0, :, 5, 4] = torch.tensor([2.0, 6.0, 6.0, 2.0])  # around (18, 22): from (16, 16) to (24, 24)
    expected = overlaps(np.array([[16.0, 16.0, 24.0, 24.0]]), box[0].numpy())[0, 0]
    assert float(losses.box_loss(sides, only, box)) == pytest.approx(1 - expected)


def test_overlap_is_the_common_part_of_both() -> None:
    boxes = np.array([[0.0, 0.0, 4.0, 4.0]])
    others = np.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [4.0, 4.0, 8.0, 8.0]])
    assert overlaps(boxes, others)[0].tolist() == pytest.approx([1.0, 8 / 24, 0.0])


def test_each_object_is_found_once_by_the_surest_box_of_its_class() -> None:
    truth = some((0, 0, 10, 10, 1, 1), (20, 20, 30, 30, 2, 1))
    found = some(
        (0, 0, 10, 9, 1, 0.6),
        (0, 0, 10, 10, 1, 0.9),
        (20, 20, 30, 30, 1, 0.8),
        (20, 20, 30, 24, 2, 0.7),
        (21, 20, 30, 30, 2, 0.5),
    )
    assert matched(found, truth).tolist() == [False, True, False, False, True]
    assert evaluate.f1(found, truth) == pytest.approx(2 * 2 / (5 + 2))
    assert evaluate.f1(some(), some()) == 1 and evaluate.f1(some(), truth) == 0


def scene(random: np.random.Generator, classes: int) -> tuple[Boxes, Boxes]:
    """What is there, and what a middling detector says of it: some missed, moved, mistaken and made up."""
    truth = np.concatenate([random.uniform(0, 50, (random.integers(6), 2))] * 2, 1)
    truth[:, 2:] += random.uniform(5, 20, (len(truth), 2))
    labels = random.integers(classes, size=len(truth))
    is_found = random.random(len(truth)) < 0.8
    moved = truth[is_found] + random.uniform(-2, 2, (is_found.sum(), 4))
    named = np.where(random.random(len(moved)) < 0.85, labels[is_found], random.integers(classes, size=len(moved)))
    made_up = np.concatenate([random.uniform(0, 50, (random.integers(4), 2))] * 2, 1)
    made_up[:, 2:] += 10
    found = np.concatenate([moved, made_up])
    named = np.concatenate([named, random.integers(classes, size=len(made_up))])
    return Boxes(truth, labels, np.ones(len(truth))), Boxes(found, named, random.random(len(found)))


def by_pycocotools(found: list[Boxes], truth: list[Boxes], classes: int, least: float = 0.5) -> float:
    known, said = (
        [
            {"id": number, "image_id": picture + 1, "category_id": int(label), "score": float(score), "iscrowd": 0}
            | {"bbox": [*box[:2], *(box[2:] - box[:2])], "area": float((box[2:] - box[:2]).prod())}
            for number, (picture, box, label, score) in enumerate(
                ((picture, *one) for picture, boxes in enumerate(pictures) for one in zip(*boxes, strict=True)), 1
            )
        ]
        for pictures in (truth, found)
    )
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": picture + 1} for picture in range(len(truth))],
        "annotations": known,
        "categories": [{"id": label} for label in range(classes)],
    }
    coco.createIndex()
    measured = COCOeval(coco, coco.loadRes(said), "bbox")
    measured.params.iouThrs = np.array([least])
    # It takes the precision at so many recalls in place of the area.
    measured.params.recThrs = np.linspace(0, 1, 10_001)
    measured.params.areaRng, measured.params.areaRngLbl = [[0, 1e9]], ["all"]
    measured.evaluate()
    measured.accumulate()
    precision = measured.eval["precision"][0, :, :, 0, -1]
    return float(precision[:, precision[0] >= 0].mean())


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = int(random.integers(1, 4))
    truth, found = zip(*(scene(random, classes) for _ in range(8)), strict=True)
    ours = mean_average_precision(list(found), list(truth), classes)
    assert 0.1 < ours < 0.99
    strict = mean_average_precision(list(found), list(truth), classes, IOUS[4])
    assert strict == pytest.approx(by_pycocotools(list(found), list(truth), classes, 0.7), abs=2e-4) and strict <= ours
    assert ours == pytest.approx(by_pycocotools(list(found), list(truth), classes), abs=2e-4)


def test_average_precision_is_the_area_under_the_best_precision() -> None:
    truth = [some((0, 0, 10, 10, 0, 1), (20, 0, 30, 10, 0, 1)), some((0, 0, 10, 10, 0, 1), (0, 20, 9, 30, 1, 1))]
    found = [
        some((0, 0, 10, 10, 0, 0.9), (40, 40, 50, 50, 0, 0.8), (20, 0, 30, 10, 0, 0.7)),
        some((0, 20, 9, 30, 1, 0.3)),
    ]
    # Class 0: right, wrong, right of three that are known: (1 + 2/3) / 3. Class 1: all of it.
    assert mean_average_precision(found, truth, 3) == pytest.approx(((1 + 2 / 3) / 3 + 1) / 2)
    assert mean_average_precision(truth, truth, 3) == 1
    late = [some((40, 40, 50, 50, 1, 0.9)), some((0, 20, 9, 30, 1, 0.3))]
    assert mean_average_precision(late, [some(), truth[1]], 3) == pytest.approx((0 + 1 / 2) / 2)
    more = [some((0, 0, 10, 10, 0, 0.5), (20, 0, 30, 10, 0, 0.4), (40, 40, 50, 50, 0, 0.9))]
    assert mean_average_precision(more, truth[:1], 1) == pytest.approx(2 / 3), "the best at that recall or a higher"
    assert mean_average_precision([some()] * 2, truth, 3) == 0


def test_boxes_move_with_what_is_in_them() -> None:
    torch.manual_seed(0)
    count, side = 64, 64
    images = torch.full((count, 3, side, side), GREY, dtype=torch.uint8)
    boxes = torch.zeros(count, 2, 4)
    boxes[:, 0] = torch.tensor([12.0, 20.0, 36.0, 44.0])
    boxes[:, 1] = torch.tensor([61.0, 61.0, 64.0, 64.0])
    images[:, :, 20:44, 12:36] = 255
    varied, moved, labels = vary(images, boxes, torch.ones(count, 2, dtype=torch.long))
    assert (labels[:, 0] == 1).all() and set(labels[:, 1].tolist()) == {1, -1}, "what left the picture is no object"
    sizes = []
    for picture, box in zip(varied, moved[:, 0].tolist(), strict=True):
        bright = (picture[0] - picture[0].median()).abs() > 30
        rows, columns = bright.any(1).nonzero().flatten(), bright.any(0).nonzero().flatten()
        seen = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        assert np.abs(np.array(seen) - np.array(box)).max() <= 1.6
        sizes.append(box[2] - box[0])
    assert min(sizes) < 21 and max(sizes) > 27


def task_of(folder: Path, stage: str, **model: Any) -> ImageDetection:
    info = {"classes": ["a", "b", "c"], "size": 64, "small": "refuse"}
    task = ImageDetection(Manifest(kind="corpus", info=info), {}, DetectorModel(**{"width": 8} | model))
    task.stage = stage
    return task


def test_single_objects_teach_the_heat_map_and_leave_the_boxes_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = task_of(tmp_path, "pretraining")
    model = task.build().train()
    batch = {
        "images": torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8),
        "labels": torch.tensor([[0], [1], [2], [1]]),
    }
    task.loss(model, batch).backward()
    assert isinstance(model, Detector)
    assert model.heat.weight.grad is not None and not model.sides.weight.requires_grad
    with torch.no_grad():
        model.heat.bias.fill_(1.0)
    task.save(model, tmp_path)
    tuned = task_of(tmp_path, "fine_tuning").load(tmp_path)
    assert isinstance(tuned, Detector) and torch.equal(tuned.heat.weight, model.heat.weight)
    assert (tuned.heat.bias < 0).all(), "most cells of a picture are empty, which single objects do not tell"
    assert task_of(tmp_path, "evaluation").load(tmp_path).heat.bias.min() == 1.0
    boxes = torch.tensor([[[4.0, 4.0, 20.0, 30.0]]]).repeat(4, 1, 1)
    task_of(tmp_path, "fine_tuning").loss(tuned.eval(), batch | {"boxes": boxes}).backward()
    assert tuned.sides.weight.grad is not None


def test_a_picture_fills_the_field_by_its_longer_side() -> None:
    pixels = np.full((30, 60, 3), 200, np.uint8)
    square, scale = pictures.fit(pixels, 48, may_enlarge=False)
    assert square.shape == (3, 48, 48) and scale == 0.8
    assert (square[:, :24] == 200).all() and (square[:, 24:] == GREY).all()
    with pytest.raises(pictures.Unfit, match="60 x 30 pixels, less than the network's field of 64 x 64"):
        pictures.fit(pixels, 64, may_enlarge=False)
    assert pictures.fit(pixels, 120, may_enlarge=True)[1] == 2


@pytest.mark.parametrize(
    ("boxes", "labels", "policy", "why"),
    [
        ([[1, 2, 3]], ["a"], "bad_box", r"box \[1, 2, 3\] is not left, top, right and bottom"),
        ([[1, 2, 3, 4]], ["a", "b"], "bad_box", "1 boxes and 2 labels"),
        ([], ["a", "b"], "bad_box", "0 boxes and 2 labels"),
        ("[1, 2]", ["a"], "bad_box", "no lists"),
        ([[1, 2, 3, 4]], ["z"], "unknown_label", "label 'z' is not one of"),
    ],
)
def test_what_a_row_cannot_say(boxes: Any, labels: Any, policy: str, why: str) -> None:
    with pytest.raises(pictures.Unfit, match=why) as refused:
        preprocess.parse(0, boxes, labels, ["a", "b"])
    assert refused.value.policy == policy


@pytest.mark.parametrize(("box", "why"), [((5, 2, 5, 9), "no area"), ((0, 0, 21, 9), "not in the picture of 20 x 10")])
def test_a_box_has_an_area_inside_its_picture(box: tuple[int, ...], why: str) -> None:
    with pytest.raises(pictures.Unfit, match=why):
        preprocess.require_inside(np.array([box], np.float32), np.zeros((10, 20, 3), np.uint8))
    preprocess.require_inside(np.array([[0, 0, 20, 10]], np.float32), np.zeros((10, 20, 3), np.uint8))


def test_boxes_are_cut_at_the_edges_of_their_picture() -> None:
    boxes = np.array([[-3, 2, 5, 9], [15, 4, 21.5, 12], [30, 0, 40, 5], [2, 2, 2, 5]], np.float32)
    cut = objects.clipped(objects.RowObjects(0, boxes, np.arange(4)), np.zeros((10, 20, 3), np.uint8))
    assert cut.boxes.tolist() == [[0, 2, 5, 9], [15, 4, 20, 10]] and cut.labels.tolist() == [0, 1]
    preprocess.require_inside(cut.boxes, np.zeros((10, 20, 3), np.uint8))


def test_blobs_are_found_where_the_ground_is_plain() -> None:
    images = np.full((2, 3, 64, 64), 30, np.uint8)
    images[0, :, 10:30, 8:20] = 250
    images[0, :, 40:60, 40:44] = 250
    images[0, :, 40:44, 40:60] = 250
    truth = [some((8, 10, 20, 30, 0, 1), (40, 40, 60, 60, 1, 1)), some()]
    blobs = baseline.Blobs(images, truth)
    found = blobs.find(images[0])
    assert sorted(zip(found.boxes.tolist(), found.labels.tolist(), strict=True)) == [
        ([8, 10, 20, 30], 0),
        ([40, 40, 60, 60], 1),
    ]
    assert not len(blobs.find(images[1]).labels)
    average = baseline.average_boxes(truth, 2, 9)
    assert len(average) == 2 and set(average[0].labels.tolist()) == {0} and len(average[0].scores) == 9


def test_digits_are_where_their_boxes_say() -> None:
    random = np.random.default_rng(1)
    digit = np.zeros((28, 28), np.float32)
    digit[4:24, 8:20] = 1
    picture, boxes = demo.compose(np.full((64, 64, 3), 0.2, np.float32), [digit] * 3, random)
    changed = np.abs(picture - 0.2).max(2) > 0.1
    inside = np.zeros_like(changed)
    for left, top, right, bottom in boxes:
        inside[top:bottom, left:right] = True
    assert boxes and not (changed & ~inside).any() and changed[inside].mean() > 0.8
    assert not overlaps(np.array(boxes), np.array(boxes))[~np.eye(len(boxes), dtype=bool)].any()
