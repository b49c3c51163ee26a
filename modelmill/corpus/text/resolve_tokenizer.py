"""The tokenizer that a run works with: from elsewhere, fitted before, or fitted now."""

from collections.abc import Callable
from pathlib import Path

from modelmill.corpus.text import tokenizer
from modelmill.recipe.step_specs import FITTED
from modelmill.runtime import external_inputs, fitted, weights
from modelmill.runtime.step_runtime import Step


def the_tokenizer(step: Step, source: str | None, train: Callable[[Path], None]) -> tuple[Path, dict[str, str]]:
    """The folder with it, and what that settles for later runs.

    Args:
        source: what `preprocessing.tokenizer.from` says. train: fits one and writes it into a folder.
    Raises:
        UserError: there is no tokenizer at `source`.
    """
    folder = step.scratch / "tokenizer"
    if source:
        tokenizer.copy(weights.locate("preprocessing.tokenizer.from", source, step.store), folder)
        return folder, {}
    if (kept := step.digests[FITTED]) != external_inputs.NOTHING:
        return fitted.fetch(step.store, kept, folder), {}
    train(folder)
    if step.recipe.preprocessing.fit == "always":
        return folder, {}
    # Another run may have been first; then its tokenizer is the one.
    kept = fitted.keep(step.store, step.recipe, [folder / name for name in weights.TOKENIZER])
    return fitted.fetch(step.store, kept, folder), {FITTED: kept}
