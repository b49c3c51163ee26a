"""What a run needs, checked one by one, so that a person learns all of it at once."""

import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from modelmill import recipe as recipes
from modelmill.core import limits
from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import tracking
from modelmill.store import open_store

PYTHONS = ((3, 11), (3, 13))
FREE_BYTES = 2 << 30


class Finding(NamedTuple):
    """The result of a check."""

    name: str
    ok: bool
    message: str


def examine(store: str, recipe: Path | None, overrides: list[str] | None) -> list[Finding]:
    """Run every check in order; a check that fails does not stop the next.

    Args:
        store: URI of the store.
        recipe: A recipe to check as well.
        overrides: Keys of the recipe, each as --set takes it.
    """
    checks: dict[str, Callable[[], str]] = {
        "python": _python,
        "libraries": _libraries,
        "store": lambda: _store(store),
        "registry": lambda: tracking.describe(open_store(store)),
        "disk": _disk,
        "device": _device,
    }
    if recipe is not None:
        checks["recipe"] = lambda: _recipe(recipe, overrides, store)
    return [_run(name, check) for name, check in checks.items()]


def examine_cluster(
    file: Path, recipe: Path | None, overrides: list[str] | None, from_inside: bool = False
) -> list[Finding]:
    """Run every check of a cluster in order; submit nothing.

    Args:
        file: The cluster's file.
        recipe: A recipe to check as well.
        overrides: Keys of the recipe, each as --set takes it.
        from_inside: Whether a pod checks, too, what a step would reach.
    """
    from modelmill.pipelines.cluster.examining import checks_of, found_inside

    findings = [_run(name, check) for name, check in checks_of(file, recipe, overrides).items()]
    if from_inside:
        try:
            findings += [Finding(*found) for found in found_inside(file)]
        except ModelmillError as error:
            findings.append(Finding("inside", False, one_line(error)))
    return findings


def _run(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except ModelmillError as error:
        return Finding(name, False, one_line(error))


def _python() -> str:
    least, most = PYTHONS
    if not least <= sys.version_info[:2] <= most:
        raise UserError(f"Python {sys.version.split()[0]}: Modelmill runs on 3.{least[1]} to 3.{most[1]}")
    return sys.version.split()[0]


def _libraries() -> str:
    """Return the versions of the libraries that the steps name."""
    names = sorted({library for step in STEPS.values() for library in step.libraries} | {"kfp"})
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            raise UserError(f"{name} is not installed; run make install") from None
    return ", ".join(versions)


def _store(uri: str) -> str:
    store = open_store(uri)
    store.check()
    return f"{store.uri}: written, read back, conditional writes hold"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    if free < FREE_BYTES:
        raise UserError(f"{free >> 20} MiB free here; a run wants {FREE_BYTES >> 20} MiB")
    return f"{free >> 30} GiB free here"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} with {torch.cuda.mem_get_info()[1] >> 30} GiB"
    bf16 = "with bf16" if torch.cpu._is_avx512_bf16_supported() else "without bf16"
    return f"CPU, {limits.cores()} cores, {bf16}"


def _recipe(path: Path, overrides: list[str] | None, store: str) -> str:
    from modelmill.pipelines.planning.plan import plan

    recipe = recipes.load(path, overrides)
    will_run = [step.name for step in plan(recipe, open_store(store)) if step.status == "will run"]
    return f"{recipe.name}: would run {', '.join(will_run)}" if will_run else f"{recipe.name}: everything is reused"
