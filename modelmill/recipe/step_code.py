"""The source files that can change what a step makes: all that its entry reaches by imports.

Imports are read from the text of the files, not by importing them, so that `plan` can do it in a moment.
"""

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from modelmill.core import digest
from modelmill.recipe import task_packages

LIBRARY = "modelmill"
# What says, shows, starts or records, but changes no byte of a result: neither read nor followed.
NEUTRAL = frozenset(
    {
        "modelmill.core.cache",
        "modelmill.core.errors",
        "modelmill.core.files",
        "modelmill.core.image",
        "modelmill.core.lifetime",
        "modelmill.core.limits",
        "modelmill.core.machine",
        "modelmill.core.units",
        "modelmill.demo",
        "modelmill.recipe.step_code",
        "modelmill.recipe.step_specs",
        "modelmill.recipe.stored",
        "modelmill.recipe.task_check",
        "modelmill.recipe.task_packages",
        "modelmill.runtime.cancellation",
        "modelmill.runtime.external_inputs",
        "modelmill.runtime.memo",
        "modelmill.runtime.recorded",
        "modelmill.runtime.retraining",
        "modelmill.runtime.reused",
        "modelmill.runtime.run_records",
        # What is fetched is checked, and its digest is part of the key.
        "modelmill.runtime.sources.architecture",
        "modelmill.runtime.sources.bucket",
        "modelmill.runtime.sources.cached",
        "modelmill.runtime.sources.fetching",
        "modelmill.runtime.sources.file_digests",
        "modelmill.runtime.sources.hub",
        "modelmill.runtime.sources.registered",
        "modelmill.runtime.step_keys",
        "modelmill.runtime.step_log",
        "modelmill.runtime.step_runtime",
        "modelmill.runtime.tracking",
        # What is read from a store is checked against its digest, whatever brought it.
        "modelmill.store.base",
        "modelmill.store.blobs",
        "modelmill.store.conditional",
        "modelmill.store.folder",
        "modelmill.store.retention",
        "modelmill.store.s3",
        "modelmill.store.s3_client",
        "modelmill.store.s3_errors",
        "modelmill.store.s3_stream",
        # Types alone.
        "modelmill.tasks.contract",
        "modelmill.training.launch",
    }
)
_TYPES_ONLY = re.compile(r"^( *)if TYPE_CHECKING:\n(?:\1 +.*\n|\n)+", re.MULTILINE)
_IMPORT = re.compile(r"^ *(?:from +([\w.]+) +import +(\([^)]*\)|[^\n]+)|import +([^\n]+))", re.MULTILINE)


@cache
def source_digest(step: str, task: str, parts: tuple[str, ...]) -> str:
    """Return the digest of the source that a step runs for a task.

    Args:
        step: The step's name.
        task: The task's name.
        parts: Modules of the task's package that the step calls.
    """
    files = source_files(step, task, parts)
    return digest.of_json([[name, digest.of_file(file)] for name, file in sorted(files.items())])


@cache
def skipped_digest() -> str:
    """Return the digest of the source that writes down a stage which a recipe leaves out, whichever it is."""
    files = reachable([f"{LIBRARY}.training.loop.skipped"], (LIBRARY,))
    return digest.of_json([[name, digest.of_file(file)] for name, file in sorted(files.items())])


def source_files(step: str, task: str, parts: tuple[str, ...]) -> dict[str, Path]:
    """Return the files that can change what a step makes, by dotted name or, for templates, by file name.

    Args:
        step: The step's name.
        task: The task's name.
        parts: Modules of the task's package that the step calls.
    """
    package = task_packages.packages()[task]
    entry = f"{LIBRARY}.components.{step}"
    reached = reachable([f"{entry}.step", *(f"{package}.{part}" for part in parts)], (LIBRARY, package))
    folder = _folder(entry)
    templates = [file for suffix in ("j2", "css") for file in folder.rglob(f"*.{suffix}")] if folder else []
    return reached | {f"{step}/{file.name}": file for file in templates}


def reachable(roots: list[str], packages: tuple[str, ...], with_neutral: bool = False) -> dict[str, Path]:
    """Return the file of each module that the roots import, directly or not, by the module's dotted name.

    Args:
        roots: Dotted names of modules.
        packages: Top packages to follow imports into; all others are libraries.
        with_neutral: Whether modules that change no result count, too.
    """
    files: dict[str, Path] = {}
    waiting, seen = list(roots), set(roots)
    while waiting:
        name = waiting.pop()
        file = None if is_neutral(name) and not with_neutral else _file(name)
        if file is None:
            continue
        files[name] = file
        is_package = file.name == "__init__.py"
        parents = [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)]
        for imported in (*parents, *_imports(file, name if is_package else name.rpartition(".")[0])):
            if imported not in seen and imported.startswith(packages):
                seen.add(imported)
                waiting.append(imported)
    return files


def is_neutral(name: str) -> bool:
    """Return whether a module, or a package that holds it, changes no result."""
    return any(name == one or name.startswith(f"{one}.") for one in NEUTRAL)


@cache
def _imports(file: Path, package: str) -> tuple[str, ...]:
    """Return the names that a file imports, each also as a submodule of where it comes from."""
    return tuple(_names(_TYPES_ONLY.sub("", file.read_text("utf-8")), package))


def _names(text: str, package: str) -> Iterator[str]:
    for module, names, whole in _IMPORT.findall(text):
        if whole:
            yield from (name.split()[0] for name in whole.split(",") if name.split())
            continue
        origin = module
        if module.startswith("."):
            above = package.split(".")
            dots = len(module) - len(module.lstrip("."))
            origin = ".".join([*above[: len(above) - dots + 1], *filter(None, [module.lstrip(".")])])
        yield origin
        for line in names.strip("()").splitlines():
            yield from (f"{origin}.{name.split()[0]}" for name in line.split("#")[0].split(",") if name.split())


@cache
def _file(name: str) -> Path | None:
    """Return the file of a module without importing it, None for a name in a module."""
    top, *rest = name.split(".")
    folder = _folder(top)
    if folder is None:
        return None
    place = folder.joinpath(*rest)
    candidates = [place / "__init__.py"] + ([place.with_suffix(".py")] if rest else [])
    return next((file for file in candidates if file.is_file()), None)


@cache
def _folder(package: str) -> Path | None:
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent.joinpath(*rest)
