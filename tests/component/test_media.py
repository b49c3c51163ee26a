"""Images and audio through data validation: a suite of their features, in a folder and in a bucket."""

import json
import logging
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.corpus import in_memory, media
from modelmill.data import shards
from modelmill.store.manifest import Manifest
from tests import cli
from tests.component.steps import Steps
from tests.media import RATE, png, sound, tone, write
from tests.recipes import table_recipe
from tests.seaweedfs import SeaweedFS


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


IMAGES = [
    expect("column_values_to_be_in_set", column="readable", value_set=[True]),
    expect("column_values_to_be_between", column="width", min_value=5, max_value=8),
    expect("column_values_to_be_in_set", column="channels", value_set=[1, 3]),
    expect("column_values_to_be_in_set", column="mode", value_set=["RGB", "L"]),
    expect("column_mean_to_be_between", column="brightness", min_value=0.01, max_value=0.99),
    expect("column_values_to_be_unique", column="sha256"),
    expect("column_values_to_be_in_set", column="label", value_set=[0, 1]),
    expect(
        "column_quantile_values_to_be_between",
        column="label",
        quantile_ranges={"quantiles": [0.5], "value_ranges": [[0, 1]]},
    ),
]
AUDIO = [
    expect("column_values_to_be_in_set", column="sample_rate", value_set=[RATE]),
    expect("column_values_to_be_in_set", column="channels", value_set=[1]),
    expect("column_values_to_be_between", column="seconds", min_value=0.1, max_value=10),
    expect("column_values_to_be_between", column="clipped", max_value=0.001),
    expect("column_values_to_be_between", column="silent", max_value=0.5),
    expect("column_values_to_be_unique", column="sha256"),
]


def pictures(count: int, start: int = 0) -> dict[str, bytes]:
    return {f"images/{n}.png": png(n) for n in range(start, start + count)}


def steps(folder: Path, data: str, suite: list[dict[str, Any]], kind: str = "images", **changes: Any) -> Steps:
    recipe = table_recipe(
        folder,
        folder,
        {"name": "files", "expectations": suite},
        data__media=kind,
        data__path=data,
        preprocessing__features=["brightness"],
        preprocessing__label="label",
        **changes,
    )
    return Steps(recipe, folder / f"work-{uuid.uuid4().hex}")


def validate(at: Steps) -> dict[str, Manifest]:
    return at.call("data_validation", ["dataset", "validation"])


def fails(at: Steps) -> tuple[int, str]:
    return at.fails("data_validation", ["dataset", "validation"])


def upload(server: SeaweedFS, bucket: str, folder: Path) -> str:
    for file in (f for f in folder.rglob("*") if f.is_file()):
        key = f"raw/{file.relative_to(folder).as_posix()}"
        server.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=file.read_bytes())
    return f"{bucket}/raw"


def test_a_suite_judges_images_in_a_folder_and_in_a_bucket_alike(
    tmp_path: Path, seaweedfs: SeaweedFS, bucket: str
) -> None:
    data = write(tmp_path / "data", pictures(9))
    write(data, pictures(7, start=20), manifest="b.csv")
    remote = upload(seaweedfs, bucket, data)
    here, there = (steps(tmp_path, path, IMAGES) for path in (str(data), remote))
    (one, two) = (validate(at)["dataset"] for at in (here, there))
    assert one == two and one.info["media"] == "images" and [e.rows for e in one.entries] == [9, 7]
    assert (
        here.record("data_validation").headline
        == there.record("data_validation").headline
        == "16 rows, 8/8 expectations"
    )
    assert one.info["columns"]["width"] == "int64" and one.info["columns"]["brightness"] == "double"
    for at, change in (
        (here, (data / "images" / "3.png").write_bytes),
        (there, put(seaweedfs, bucket, "images/3.png")),
    ):
        change(png(200))
        assert validate(at)["dataset"].digest != one.digest
        metrics = at.record("data_validation").metrics
        assert (metrics["shards"], metrics["new_shards"]) == (2, 1), "one changed file costs the manifest that names it"
    (data / "images" / "4.png").write_bytes(png(5))
    code, message = fails(here)
    assert code == 3 and "expect_column_values_to_be_unique(sha256) 2 of 16 rows: a.csv:5=" in message
    (data / "images" / "4.png").write_bytes(png(5, size=(9, 9)))
    assert "expect_column_values_to_be_between(width) 1 of 16 rows: a.csv:5=9" in fails(here)[1]


def put(server: SeaweedFS, bucket: str, key: str) -> Any:
    return lambda data: server.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=f"raw/{key}", Body=data)


def test_what_is_wrong_with_recordings_is_found(tmp_path: Path) -> None:
    good = {f"{n}.wav": sound(tone(0.2, hertz=100 + 10 * n)) for n in range(5)}
    bad = {
        "sample_rate": sound(tone(0.2, rate=8000), 8000),
        "clipped": sound(tone(0.2, 3.0)),
        "silent": sound(tone(0.2, 1e-4), format="FLAC"),
        "seconds": sound(tone(0.02)),
    }
    data = write(tmp_path / "data", good)
    at = steps(tmp_path, str(data), AUDIO, "audio")
    assert validate(at)["dataset"].info["rows"] == 5
    for column, recording in bad.items():
        write(data, {**good, "5.wav": recording})
        code, message = fails(at)
        assert code == 3 and "\n" not in message and message.startswith("1 of 6 expectations failed"), message
        assert f"({column}) 1 of 6 rows: a.csv:6=" in message


def test_an_unusable_file_stops_the_run_by_name(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {**pictures(6), "images/1.png": b"x"}, [*pictures(6), "images/gone.png"])
    code, message = fails(steps(tmp_path, str(data), IMAGES))
    assert code == 2 and "\n" not in message
    assert "a.csv: 2 files that it names cannot be used, the first images/1.png (row 2): broken" in message
    assert "--set data.corrupt_files=leave_out" in message


def test_rows_with_unusable_files_are_left_out_everywhere_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write(tmp_path / "data", {**pictures(60), "images/1.png": b"x"}, [*pictures(60), "images/gone.png"])
    at = steps(tmp_path, str(data), IMAGES, data__corrupt_files="leave_out")
    with caplog.at_level(logging.WARNING, "modelmill"):
        made = validate(at)
    assert at.record("data_validation").headline == "59 rows, 8/8 expectations, 2 rows with an unusable file left out"
    assert "left out: a.csv row 2: images/1.png: broken" in caplog.text and "row 61: images/gone.png" in caplog.text
    assert [made["dataset"].info["rows"], made["dataset"].entries[0].rows] == [59, 59]
    files = json.loads(at.store.get("runs/1/validation/quarantine.json"))["files"]
    assert [(one["shard"], one["row"], one["file"]) for one in files] == [
        ("a.csv", 2, "images/1.png"),
        ("a.csv", 61, "images/gone.png"),
    ]
    corpus = at.call("preprocessing", ["corpus"], dataset=made["dataset"])["corpus"]
    assert sum(sum(labels.values()) for labels in corpus.info["splits"].values()) == 59
    listed = cli.modelmill("data", "quarantine", "1", "--store", at.store.uri)
    assert "images/gone.png  a.csv row 61  not there" in listed.stdout
    assert "0 shards quarantined, 2 rows with an unusable file left out" in listed.stdout


def test_preprocessing_reads_what_was_validated_and_keeps_copies_together(tmp_path: Path) -> None:
    copies = {name.replace("images", "copies"): data for name, data in pictures(40).items()}
    data = write(tmp_path / "data", {**pictures(40), **copies})
    at = steps(tmp_path, str(data), IMAGES[:3], preprocessing__validation=0.3, preprocessing__test=0.3)
    dataset = validate(at)["dataset"]
    recipe = recipes.from_json(at.recipe)
    found = [(shard, dataset.entry(shard.path).sha256) for shard in shards.of(recipe.data)]
    step: Any = SimpleNamespace(recipe=recipe, progress=lambda done, total, text: None)
    rows = in_memory.read(step, found, {})
    assert [one.name for one in rows.files] == [*pictures(40), *copies]
    assert rows.splits[:40].tolist() == rows.splits[40:].tolist() and len(set(rows.splits)) == 3
    assert rows.ids[:40].tolist() == rows.ids[40:].tolist() and len(set(rows.ids.tolist())) == 40
    assert [int(pixels[0, 0, 0]) for pixels in media.images(rows.files)] == [*range(40), *range(40)]
    (data / "images" / "7.png").write_bytes(png(99))
    code, message = at.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2 and "a.csv: changed since it was validated; run again" in message


def test_data_can_be_looked_at_outside_a_run(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {f"{n}.flac": sound(tone(0.2, hertz=100 + n), format="FLAC") for n in range(4)})
    drafted = cli.modelmill("data", "profile", str(data), "--media", "audio", "-o", str(tmp_path / "suite.json"))
    assert drafted.returncode == 0, drafted.stderr
    suite = {
        (e["type"], e["kwargs"].get("column"))
        for e in json.loads((tmp_path / "suite.json").read_text())["expectations"]
    }
    assert ("expect_column_values_to_be_in_set", "readable") in suite
    assert ("expect_column_values_to_be_between", "sample_rate") in suite
    (data / "2.flac").write_bytes(b"fLaC")
    judged = cli.modelmill("data", "validate", str(data), "--media", "audio", "--suite", str(tmp_path / "suite.json"))
    assert judged.returncode == 3 and "2.flac  a.csv row 3  broken" in judged.stdout
    unknown = cli.modelmill("data", "profile", str(data), "--media", "video")
    assert unknown.returncode == 2 and "--media video: images or audio" in unknown.stderr
