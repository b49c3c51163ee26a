"""Objectives that compare two answers to a prompt, or judge one."""

from typing import TYPE_CHECKING, Any

from modelmill.core.errors import UserError
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning

if TYPE_CHECKING:
    from modelmill.runtime.step_runtime import Step
    from modelmill.tasks.language_modeling.objectives.objective import Objective


def prepare(step: "Step", task: Any, model: Any, settings: LanguageFineTuning) -> "Objective":
    """Return the objective of preferences; see `objective.prepare`."""
    raise UserError(f"fine_tuning.objective: {settings.objective} is not there yet")
