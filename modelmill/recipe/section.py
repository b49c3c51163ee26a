"""The base of every settings model, and the names that several of them use."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
GPU = "nvidia.com/gpu"


class Section(BaseModel):
    """Settings that refuse unknown keys, values of another type, NaN and infinity.

    Attributes:
        none_words: Keys at which the word `none` stands for null.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    none_words: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        words = {key: None for key in cls.none_words if isinstance(value, dict) and value.get(key) == "none"}
        return {**value, **words} if words else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the section's JSON schema, with inherited descriptions and the word `none` where it is taken."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, field in cls.model_fields.items():
            if said := description(cls, name):
                properties[field.alias or name]["description"] = said
        for key in cls.none_words:
            properties[key]["anyOf"].append({"const": "none"})
        return schema


def description(model: type[BaseModel], name: str) -> str:
    """Return the description of a field: its own, or that of the field that it overrides; "" if there is none."""
    models = [base for base in model.__mro__ if issubclass(base, BaseModel)]
    fields = [base.model_fields[name] for base in models if name in base.model_fields]
    return next((field.description for field in fields if field.description), "")
