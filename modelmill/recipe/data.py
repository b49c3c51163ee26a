"""The section `data`: where the shards are, and the contract that they must keep."""

from typing import Any, Literal

from pydantic import Field, model_validator

from modelmill.recipe.column_type import ColumnType
from modelmill.recipe.layout import Layout, MediaKind, media_of
from modelmill.recipe.section import Section


class Quarantine(Section):
    """Limits on the bad shards that a run leaves out.

    A shard is bad if it cannot be read, has another schema than the rest, or breaks an expectation on single rows:
    fewer of its rows than `mostly` keep it.
    """

    shards: int = Field(default=0, ge=0, description="Most bad shards that a run leaves out; with more it stops.")
    rows: int | None = Field(
        default=None, ge=0, description="Most rows in the shards that are left out; null sets no limit."
    )
    samples: int = Field(
        default=5, ge=0, le=20, description="Bad rows to keep for each rule; `modelmill data show SHARD` prints them."
    )


class DriftLimits(Section):
    """Limits from which on a column has drifted from the data of the registered model.

    Shifting a normal distribution by half of its standard deviation gives a Wasserstein distance of 0.5 and a
    population stability index of about 0.25.
    """

    psi: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index from which on a column has drifted; 0.25 is usually called a large "
        "shift.",
    )
    wasserstein: float = Field(
        default=0.5,
        gt=0,
        description="Wasserstein distance, in standard deviations of the reference, from which on a number has "
        "drifted.",
    )
    minimum: int = Field(
        default=500, ge=1, description="Fewest values of a distribution; those with fewer are not compared."
    )


class Data(Section):
    """Where the shards are, and the contract that they must keep."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="Folder, file, glob pattern or `s3://BUCKET/PREFIX`; a relative path starts at the recipe's "
        "folder.",
    )
    layout: Layout = Field(
        default="table",
        description="How the data lies: tables, a folder of images for each class, or a layout such as `coco`; "
        "`modelmill data profile` tells which.",
    )
    format: Literal["auto", "jsonl", "json", "csv", "parquet", "arrow", "text"] = Field(
        default="auto",
        description="Format of the shards; `auto` goes by the file names. `json` is an array of objects, `arrow` what "
        "`save_to_disk` of the library datasets writes.",
    )
    media: MediaKind | None = Field(
        default=None,
        description="Kind of the files that the column `file` of the shards names; null if they name none, or if the "
        "layout has one kind alone.",
    )
    corrupt_files: Literal["refuse", "leave_out"] = Field(
        default="refuse",
        description="What happens to a row whose media file is missing or broken: `refuse` stops the run, `leave_out` "
        "leaves the row out everywhere.",
    )
    suite: str | dict[str, Any] = Field(
        description="Great Expectations suite that the data must keep: a path to a JSON file, relative to the "
        "recipe's folder, or the suite itself."
    )
    ignore: list[str] | None = Field(
        default=None,
        description="Names of files in the folder that are no data, as glob patterns such as `*.md` or `old/*`; null "
        "leaves out what usually lies beside data, such as README.md, unless `format` is set. Files `.json` are data "
        "where there is no other.",
    )
    columns: dict[str, ColumnType] = Field(
        default={},
        description="Types of columns by name, such as `zip: text`. Types of the others are made out from all shards. "
        "Lists and objects of a column of `text` are read as their JSON.",
    )
    groups: int = Field(default=1, ge=1, le=1000, description="Parallel tasks that scan, and later encode, the shards.")
    quarantine: Quarantine | None = Field(
        default=None, description="Limits on the bad shards that a run leaves out; null stops the run at the first."
    )
    drift: DriftLimits = Field(
        default=DriftLimits(), description="Limits from which on a column has drifted from the registered model's data."
    )
    retrain: Literal["new_data", "drift"] = Field(
        default="new_data",
        description="Reason for a run with `--if-changed` to train: any `new_data`, or `drift` from the registered "
        "model's.",
    )

    @model_validator(mode="after")
    def _layout_has_its_kind(self) -> "Data":
        self.media = media_of(self.layout, self.media)
        if self.layout not in ("table", "metadata") and self.format != "auto":
            raise ValueError(f"format: layout {self.layout} has its own, leave it out")
        return self

    @model_validator(mode="after")
    def _manifests_are_tables(self) -> "Data":
        if self.media is not None and self.format not in ("auto", "jsonl", "csv", "parquet"):
            raise ValueError(f"media: a manifest of {self.media} is jsonl, csv or parquet, not {self.format}")
        return self
