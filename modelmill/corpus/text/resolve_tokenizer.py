"""The tokenizer that a run works with: from elsewhere, fitted before, or fitted now."""

from collections.abc import Callable
from pathlib import Path

from modelmill.corpus.text import given_tokenizer
from modelmill.recipe.step_specs import FITTED
from modelmill.runtime import external_inputs, fitted, weights
from modelmill.runtime.step_runtime import Step


def the_tokenizer(step: Step, source: str | None, train: Callable[[Path], None]) -> tuple[Path, dict[str, str]]:
    """Return the tokenizer's folder, and what it settles for later runs.

    Args:
        step: The running step.
        source: The recipe's `preprocessing.tokenizer.from`.
        train: Fits a tokenizer and writes it into a folder.

    Returns:
        The folder, and the digest of a tokenizer that is fitted once, by the name of the step's input.

    Raises:
        UserError: There is no tokenizer at `source`.
    """
    folder = step.scratch / "tokenizer"
    if source:
        given_tokenizer.copy(weights.locate("preprocessing.tokenizer.from", source, step.store), folder)
        return folder, {}
    if (kept := step.digests[FITTED]) != external_inputs.NOTHING:
        return fitted.fetch(step.store, kept, folder), {}
    train(folder)
    if step.recipe.preprocessing.fit == "always":
        return folder, {}
    # Where another run was first, its tokenizer counts.
    kept = fitted.keep(step.store, step.recipe, [folder / name for name in weights.TOKENIZER])
    return fitted.fetch(step.store, kept, folder), {FITTED: kept}
