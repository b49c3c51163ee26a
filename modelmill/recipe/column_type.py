"""The types that a recipe can choose for a column."""

from typing import Literal

ColumnType = Literal["text", "integer", "number", "decimal", "boolean", "date", "timestamp"]
