"""The recipe: one YAML file that says what to train, as pydantic models that refuse what they do not know."""

from modelmill.recipe.load import from_json, load, parse, read_suite, to_json
from modelmill.recipe.sections import Recipe, Training

__all__ = ["Recipe", "Training", "from_json", "load", "parse", "read_suite", "to_json"]
