"""Detectors of checkpoints: fed, scored and read as transformers does it, picture by picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.core.errors import UserError
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.image_detection import processor, trivial
from modelmill.tasks.image_detection.detection import Boxes
from modelmill.tasks.image_detection.framed import Group, batch_of, example
from modelmill.tasks.image_detection.pretrained import PretrainedDetection
from modelmill.tasks.image_detection.processor import Unprepared
from modelmill.tasks.image_detection.recipe import PretrainedDetector
from modelmill.tasks.image_detection.varied import Variation
from tests.pretrained import detectors
from tests.pretrained.detectors import CLASSES

Picture = tuple[np.ndarray, Boxes]


def picture(number: int, height: int = 60, width: int = 80, objects: int = 1) -> Picture:
    random = np.random.default_rng(number)
    low = random.uniform(0, 30, (objects, 2))
    boxes = np.hstack([low, low + random.uniform(5, 25, (objects, 2))])
    known = Boxes(boxes, random.integers(len(CLASSES), size=objects), np.ones(objects))
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8), known


def task_of(folder: Path, classes: list[str] = CLASSES) -> PretrainedDetection:
    files = {f"checkpoint/{n}": folder / n for n in ("config.json", "preprocessor_config.json")}
    info = {"model": "auto", "classes": classes}
    return PretrainedDetection(Manifest(kind="corpus", info=info), files, PretrainedDetector(shift=0, zoom=0))


def batch(task: PretrainedDetection, pictures: list[Picture]) -> Batch:
    return batch_of([example(pixels, known, task.processor) for pixels, known in pictures])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("detectors")
    return {kind: detectors.write(kind, folder / kind) for kind in detectors.FAMILIES}


@pytest.mark.parametrize("kind", detectors.FAMILIES)
def test_a_picture_costs_and_is_given_in_a_batch_what_transformers_says_of_it_alone(
    kind: str, checkpoints: dict[str, Path]
) -> None:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    folder = checkpoints[kind]
    task = task_of(folder)
    model: Any = task.load(folder)
    assert task.way.padded, "in a batch"
    # Two sizes, several objects and none: more pictures than there are layers, and as many.
    pictures = [picture(0), picture(1, objects=3), picture(2, 80, 60, objects=2), picture(3, objects=0)]
    found, losses = task.answers(model.eval(), batch(task, pictures), [p.shape[:2] for p, _ in pictures], 0)

    reference = AutoModelForObjectDetection.from_pretrained(folder, attn_implementation="eager").eval()
    theirs = AutoImageProcessor.from_pretrained(folder, backend="pil")
    for (pixels, known), boxes, loss in zip(pictures, found, losses.tolist(), strict=True):
        inputs = theirs(images=pixels, annotations=coco(known), return_tensors="pt")
        labels = [{"class_labels": one["class_labels"], "boxes": one["boxes"]} for one in inputs["labels"]]
        if kind == "lw_detr":
            reference.config.group_detr = 1  # as its authors score it: in evaluation there is one group of queries
        said = (
            reference(pixel_values=inputs["pixel_values"], pixel_mask=inputs.get("pixel_mask"), labels=labels)
            if (kind != "yolos")
            else reference(pixel_values=inputs["pixel_values"], labels=labels)
        )
        assert loss == pytest.approx(float(said.loss.detach()), rel=1e-4)
        (answer,) = theirs.post_process_object_detection(said, threshold=0, target_sizes=[pixels.shape[:2]])
        order = np.argsort(-answer["scores"].detach().numpy(), kind="stable")[: len(boxes.scores)]
        assert boxes.scores == pytest.approx(answer["scores"].detach().numpy()[order], abs=1e-4)
        height, width = pixels.shape[:2]
        expected = answer["boxes"].detach().numpy()[order].clip(0, [width, height] * 2)
        assert boxes.boxes == pytest.approx(expected, abs=0.05)
        assert (boxes.labels == answer["labels"].numpy()[order]).mean() > 0.7, "but for ties"


def coco(known: Boxes) -> dict[str, Any]:
    named = [
        {"bbox": [*box[:2], *(box[2:] - box[:2])], "category_id": int(label), "area": 1.0, "iscrowd": 0}
        for box, label in zip(known.boxes, known.labels, strict=True)
    ]
    return {"image_id": 1, "annotations": named}


@pytest.mark.parametrize("kind", ["detr", "deformable_detr", "rt_detr", "d_fine", "yolos", "lw_detr"])
def test_the_gradient_of_a_batch_is_that_of_its_parts(kind: str, checkpoints: dict[str, Path]) -> None:
    # Queries for denoising are of the batch's size and drawn, so that no two calls have the same.
    quiet = {"num_denoising": 0} if kind in ("rt_detr", "d_fine") else {}
    folder = detectors.write(
        kind, checkpoints[kind].with_name(f"{kind}-quiet"), dropout=0.0 if kind != "yolos" else None, **quiet
    )
    task = task_of(folder)
    # In fp64: which queries are taken of nearly equal ones is not to depend on rounding.
    model: Any = task.load(folder).train().double()
    pictures = [picture(n, objects=n) for n in range(4)]

    def gradient(parts: list[list[Picture]]) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            task.loss(model, batch(task, part)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole, parts = gradient([pictures]), gradient([pictures[:3], pictures[3:]])
    assert whole.norm() > 0 and (whole - parts).norm() < 1e-4 * whole.norm()


def test_batch_normalisation_keeps_the_averages_of_the_checkpoint(checkpoints: dict[str, Path]) -> None:
    task = task_of(checkpoints["rt_detr"])
    model: Any = task.load(checkpoints["rt_detr"]).train()
    before = {name: one.clone() for name, one in model.named_buffers()}
    task.loss(model, batch(task, [picture(0), picture(1)])).backward()
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(one, before[name]) for name, one in model.named_buffers())
    assert model.training, "all else learns"


@pytest.mark.parametrize("kind", ["detr", "rt_detr", "yolos", "deformable_detr"])
def test_a_head_is_kept_in_the_datas_order_or_made_anew(
    kind: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder, pictures = checkpoints[kind], [picture(0)]
    same, other = task_of(folder), task_of(folder, ["owl", "cat", "dog"])
    new = task_of(folder, ["car", "bus"])
    models: list[Any] = [task.load(folder).eval() for task in (same, other, new)]
    assert [task.notes["head"] for task in (same, other, new)] == ["the checkpoint's", "the checkpoint's", "new"]
    found, moved = (
        task.answers(model, batch(task, pictures), [(60, 80)], 0)[0][0]
        for task, model in zip((same, other), models[:2], strict=True)
    )
    assert np.allclose(found.scores, moved.scores, atol=1e-5)
    names = [CLASSES[one] for one in found.labels], [["owl", "cat", "dog"][one] for one in moved.labels]
    assert names[0] == names[1]
    assert set(new.answers(models[2], batch(new, pictures), [(60, 80)], 0)[0][0].labels) <= {0, 1}
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    new.save(models[2], tuned)
    again: Any = task_of(tuned, ["car", "bus"]).load(tuned)
    assert all(torch.equal(one, models[2].state_dict()[name]) for name, one in again.state_dict().items())
    assert json.loads((tuned / "config.json").read_text())["id2label"] == {"0": "car", "1": "bus"}
    assert (tuned / "preprocessor_config.json").is_file()


def test_the_same_network_is_built_with_random_weights(checkpoints: dict[str, Path]) -> None:
    task = task_of(checkpoints["detr"], ["car"])
    model: Any = task.build()
    assert model.config.id2label == {0: "car"} and model.config.num_queries == 7
    assert (
        task.loss(
            model.train(), batch(task, [(picture(0)[0], Boxes(np.array([[1.0, 2, 9, 9]]), np.array([0]), np.ones(1)))])
        )
        > 0
    )


def test_a_picture_is_as_large_as_its_processor_makes_it_alone(checkpoints: dict[str, Path]) -> None:
    task = task_of(checkpoints["detr"])
    values = batch(task, [picture(0), picture(2, 80, 60)])
    assert values["values"].shape == (2, 3, 64, 64) and values["frames"].tolist() == [[48, 64], [64, 48]]
    assert not values["values"][0, :, 48:].any() and values["values"][0, :, :48].all(1).any()


def test_a_picture_that_is_padded_by_its_processor_has_the_boxes_of_its_own_part(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = checkpoints["detr"]
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    described = json.loads((folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(described | {"pad_size": {"height": 80, "width": 80}})
    )
    its = processor.load(tmp_path)
    pixels, _ = picture(0)
    prepared = processor.prepare(its, pixels)
    assert prepared.frame == (80, 80) and prepared.content == (48, 64)
    assert processor.relative(np.array([[0, 0, 80, 60]]), prepared.place(pixels))[0] == pytest.approx(
        [0.4, 0.3, 0.8, 0.6]
    )

    class Said:
        logits = torch.tensor([[[9.0, 0, 0, 0]]])
        pred_boxes = torch.tensor([[[0.4, 0.3, 0.8, 0.6]]])

    ((boxes, labels, _),) = processor.found(its, Said, [prepared.place(pixels)], 0.5)
    assert boxes[0] == pytest.approx([0, 0, 80, 60], abs=1e-3) and labels == [0]


def test_the_size_of_pictures_can_be_set() -> None:
    def of(**described: Any) -> Any:
        files = {"checkpoint/preprocessor_config.json": json.dumps(described).encode()}
        return json.loads(processor.with_size(files, 96)["checkpoint/preprocessor_config.json"])

    longest = {"shortest_edge": 96, "longest_edge": 96}
    assert of(size={"shortest_edge": 800, "longest_edge": 1333}, do_pad=True) == {"size": longest, "do_pad": True}
    assert of(size=800, max_size=1333) == {"size": longest} == of()
    assert of(size={"height": 640, "width": 640}) == {"size": {"height": 96, "width": 96}}
    with pytest.raises(Unprepared, match=r"preprocessing\.processor\.size: the checkpoint's pictures have the size"):
        of(size={"max_height": 5, "max_width": 5})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (None, "no preprocessor_config.json in it"),
        ("ViTImageProcessor", "ViTImageProcessor.* is not the processor of a detector"),
        ("RfDetrImageProcessor", "its image processor needs torchvision"),
        ("NoImageProcessor", "not an image processor that transformers loads here"),
    ],
)
def test_a_processor_that_finds_no_boxes_here_is_refused(
    name: str | None, why: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes((checkpoints["yolos"] / "config.json").read_bytes())
    if name:
        detectors.write_processor(tmp_path, name)
    with pytest.raises(Unprepared, match=why) as refused:
        processor.load(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "other", "reads"), [("detr", "RTDetrImageProcessor", 4), ("rt_detr", "DetrImageProcessor", 2)]
)
def test_a_processor_of_another_detector_is_refused(
    kind: str, other: str, reads: int, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    for file in checkpoints[kind].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    detectors.write_processor(tmp_path, other, is_square=kind == "rt_detr")
    with pytest.raises(UserError, match=f"reads {reads} classes of a network that has 3"):
        task_of(tmp_path).load(tmp_path)


def test_a_size_that_a_network_does_not_take_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = detectors.write("yolos", tmp_path / "yolos", side=8)  # less than a patch
    with pytest.raises(UserError, match=r"YolosImageProcessor.* cannot prepare a picture"):
        task_of(folder).load(folder)


class Shown:
    """Two pictures of other sizes, each with a bright square."""

    sizes = [(320, 400), (80, 60)]

    def __len__(self) -> int:
        return 2

    def size(self, index: int) -> tuple[int, int]:
        return self.sizes[index]

    def known(self, index: int) -> Boxes:
        height, width = self.sizes[index]
        return Boxes(
            np.array([[width // 4, height // 4, width // 2, height // 2]], float), np.array([index]), np.ones(1)
        )

    def pixels(self, index: int) -> np.ndarray:
        pixels = np.full((*self.sizes[index], 3), 20, np.uint8)
        left, top, right, bottom = self.known(index).boxes[0].astype(int)
        pixels[top:bottom, left:right] = 250
        return pixels


def test_trivial_detectors_find_what_is_bright_and_what_is_usual_in_pictures_of_any_size() -> None:
    shown = Shown()
    for place, boxes in enumerate(trivial.average(shown, shown)):
        height, width = shown.size(place)
        assert boxes.boxes[0] == pytest.approx([width / 4, height / 4, width / 2, height / 2])
    for place, boxes in enumerate(trivial.blobs(shown, shown)):
        assert boxes.boxes == pytest.approx(shown.known(place).boxes, abs=2.6)


@pytest.mark.parametrize("change", [{"shift": 0.2}, {"zoom": 0.3}, {"flip": True}])
def test_boxes_move_with_what_is_in_them(change: dict[str, Any], checkpoints: dict[str, Path]) -> None:
    pytest.importorskip("kornia")
    its, count = processor.load(checkpoints["detr"]), 16
    vary = Variation(PretrainedDetector(**({"shift": 0, "zoom": 0} | change)), its)
    pixels = torch.full((count, 3, 48, 64), -1.0)
    pixels[:, :, 12:30, 10:26] = 1.0
    known = {"class_labels": torch.tensor([1, 2]), "boxes": torch.tensor([[18, 21, 16, 18], [62.5, 2, 3, 4]])}
    known["boxes"] = known["boxes"] / torch.tensor([64.0, 48, 64, 48])
    torch.manual_seed(0)
    made = vary(Group(list(range(count)), {"pixel_values": pixels}, [known] * count))
    places = set()
    for picture, labels in zip(made.inputs["pixel_values"], made.labels, strict=True):
        bright = picture[0] > 0.5
        rows, columns = bright.any(1).nonzero().flatten(), bright.any(0).nonzero().flatten()
        seen = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        x, y, width, height = (labels["boxes"][0] * torch.tensor([64.0, 48, 64, 48])).tolist()
        assert [x - width / 2, y - height / 2, x + width / 2, y + height / 2] == pytest.approx(seen, abs=1.0)
        assert labels["class_labels"][0] == 1 and len(labels["boxes"]) == len(labels["class_labels"])
        places.add((tuple(seen), len(labels["boxes"])))
    assert len(places) > 1


def test_colours_change_as_those_of_pictures_do(checkpoints: dict[str, Path]) -> None:
    pytest.importorskip("kornia")
    its = processor.load(checkpoints["detr"])
    grey = torch.from_numpy(processor.prepare(its, np.full((48, 64, 3), 100, np.uint8)).values)
    vary = Variation(PretrainedDetector(shift=0, zoom=0, colour=0.3), its)
    torch.manual_seed(0)
    made = vary(Group([0, 1], {"pixel_values": grey.repeat(2, 1, 1, 1)}, [])).inputs["pixel_values"]
    mean, deviation = (torch.tensor(one)[:, None, None] for one in (its.image_mean, its.image_std))
    colours = made * deviation + mean
    assert colours.std(1).max() < 1e-3, "grey stays grey"
    assert not torch.allclose(colours[0], colours[1]) and (colours.clamp(0, 1) - colours).abs().max() < 1e-5
