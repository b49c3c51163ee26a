"""The recipe: one YAML file that says what to train, as pydantic models that refuse what they do not know."""

from components.common.recipe.language_modeling import LanguageModelingRecipe
from components.common.recipe.load import Recipe, from_json, load, parse, read_suite, to_json
from components.common.recipe.sections import Training
from components.common.recipe.tabular import TabularClassificationRecipe

__all__ = [
    "LanguageModelingRecipe",
    "Recipe",
    "TabularClassificationRecipe",
    "Training",
    "from_json",
    "load",
    "parse",
    "read_suite",
    "to_json",
]
