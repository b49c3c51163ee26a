"""The JSON schema of recipes, for editors and other tools that check YAML files.

It takes all that `load` takes. It refuses what can be said of a key by itself: unknown keys, wrong types, values out of
range; rules between keys are left to `load`.
"""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema

from modelmill.recipe import task_packages

DIALECT = GenerateJsonSchema.schema_dialect
_MODE: JsonSchemaMode = "validation"


class SectionSchema(GenerateJsonSchema):
    """pydantic's JSON schemas without titles, and without the defaults of sections, whose keys have their own."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: a title would say the key once more."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Return a default as JSON."""
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return super().encode_default(dft)


def schema(tasks: Iterable[str] | None = None) -> JsonSchemaValue:
    """Return the JSON schema of recipes, as draft 2020-12 has it.

    Args:
        tasks: Tasks whose recipes it takes; all that are installed, if not given.
    """
    chosen = sorted(task_packages.packages() if tasks is None else tasks)
    models = {task: task_packages.recipe_type(task) for task in chosen}
    references, shared = models_json_schema(
        [(model, _MODE) for model in models.values()], schema_generator=SectionSchema, ref_template="#/$defs/{model}"
    )
    definitions = shared["$defs"]
    for task, model in models.items():
        name = references[model, _MODE]["$ref"].removeprefix("#/$defs/")
        definitions[task] = definitions.pop(name) | {"title": task}
    return {
        "$schema": DIALECT,
        "title": "Modelmill recipe",
        "type": "object",
        "properties": {"task": {"enum": chosen, "description": "Kind of model."}},
        "required": ["task"],
        "allOf": [_of_task(task) for task in chosen],
        "$defs": dict(sorted(definitions.items())),
    }


def text(tasks: Iterable[str] | None = None) -> str:
    """Return the JSON schema of recipes as the text of a file.

    Args:
        tasks: Tasks whose recipes it takes; all that are installed, if not given.
    """
    return json.dumps(schema(tasks), indent=2, ensure_ascii=False) + "\n"


def _of_task(task: str) -> JsonSchemaValue:
    """Return a condition on the task: a validator then complains of keys of the task that is meant, not of all."""
    is_task = {"properties": {"task": {"const": task}}, "required": ["task"]}
    return {"if": is_task, "then": {"$ref": f"#/$defs/{task}"}}
