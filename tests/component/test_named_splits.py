"""Splits that data names, through the steps: what the record says of those that it lacks, and what is encoded anew."""

from pathlib import Path

from tests.component.steps import Steps
from tests.recipes import table_recipe


def write(file: Path, *names: str, rows: int = 120) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{n},{n % 7},{n % 5},{'ab'[n % 2]},{names[n // 2 % len(names)]}" for n in range(rows)]
    file.write_text("\n".join(["id,width,height,kind,fold", *lines]) + "\n")


def test_a_split_that_new_data_names_is_drawn_no_more(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.csv", "train", "train", "test")
    named = {"split_from": "fold", "validation": 0.05, "test": 0.05, "fit": "once"}
    recipe = table_recipe(
        tmp_path, tmp_path / "data", **{f"preprocessing__{key}": value for key, value in named.items()}
    )
    steps = Steps(recipe, tmp_path / "steps")
    first = steps.corpus()
    sizes = {split: sum(counts.values()) for split, counts in first.info["splits"].items()}
    assert sizes["test"] == 40 and sizes["train"] + sizes["validation"] == 80 and 0 < sizes["validation"] < 20
    assert first.info["splits_drawn_from_train"] == ["validation"]
    said = steps.record("preprocessing").headline
    assert said.endswith("40 test; no row names validation: drawn from train")
    write(tmp_path / "data" / "b.csv", "dev", rows=10)
    second = steps.corpus()
    sizes = {split: sum(counts.values()) for split, counts in second.info["splits"].items()}
    assert sizes == {"train": 80, "validation": 10, "test": 40}
    assert "splits_drawn_from_train" not in second.info and second.entry("scaler.json") == first.entry("scaler.json")


def test_a_row_that_names_no_split_ends_the_step_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.csv", "train", "holdout", "test")
    recipe = table_recipe(
        tmp_path,
        tmp_path / "data",
        preprocessing__split_from="fold",
        preprocessing__validation=0.05,
        preprocessing__test=0.05,
    )
    steps = Steps(recipe, tmp_path / "steps")
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2 and message.startswith(
        "preprocessing.split_from: a.csv row 3: column 'fold' is 'holdout', not train"
    )
