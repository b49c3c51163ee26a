"""The description of a checkpoint in a corpus: its configuration, tokenizer and processor, but not its weights."""

import shutil
from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError
from modelmill.corpus.text import given_tokenizer
from modelmill.recipe.sections import TOKENIZER
from modelmill.runtime import weights
from modelmill.runtime.sources import architecture
from modelmill.runtime.step_runtime import Step

FOLDER = "checkpoint"


def the_checkpoint(step: Step, key: str, source: str) -> Path:
    """Return a folder with what a checkpoint says of its network and its inputs.

    Args:
        step: The running step.
        key: The recipe's key that names the checkpoint; of `preprocessing.tokenizer.from` there is a `tokenizer.json`
            in the folder, which says all that transformers makes of the tokenizer's files.
        source: The checkpoint.

    Raises:
        UserError: There is none, or it lacks a configuration or a tokenizer.
    """
    folder = step.scratch / FOLDER
    tokenizer = weights.locate(key, source, step.store) if key == TOKENIZER else None
    take(weights.locate_description(key, source, step.store), tokenizer, folder)
    return folder


def take(source: Path, tokenizer: Path | None, folder: Path) -> None:
    """Copy what a checkpoint says of its network and its inputs.

    Args:
        source: The checkpoint.
        tokenizer: A folder with its tokenizer in the layout that steps read; None where files are taken as they are.
        folder: The folder to copy to.

    Raises:
        UserError: There is no tokenizer, or one that is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in weights.describing_files(source):
        shutil.copyfile(file, folder / file.name)
    if tokenizer is not None:
        given_tokenizer.copy(tokenizer, folder)


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint's description by their names in a corpus.

    Args:
        folder: What `the_checkpoint` has returned.
    """
    return {f"{FOLDER}/{file.name}": file.read_bytes() for file in weights.describing_files(folder)}


def place(corpus: dict[str, Path], folder: Path) -> Path:
    """Write a corpus's description of a checkpoint into a folder, but for files that it has, and return the folder.

    Args:
        corpus: The corpus's files by their names in it.
        folder: The folder, which is made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in corpus.items():
        if name.startswith(f"{FOLDER}/") and not (folder / Path(name).name).exists():
            shutil.copyfile(file, folder / Path(name).name)
    return folder


def agreed_labels(where: str, config: dict[str, Any], head: str, labels: list[str]) -> list[str] | None:
    """Return the labels of a checkpoint's head in its order, where they are the data's; None where a new head is made.

    Args:
        where: Key and source, for messages.
        config: The content of the checkpoint's `config.json`.
        head: Class of `transformers` that the head is loaded with.
        labels: The data's labels.

    Raises:
        UserError: The checkpoint contradicts itself, or its labels differ from the data's in spelling alone.
    """
    named, theirs = config.get("architectures") or [None], config.get("id2label")
    if named[0] != architecture.with_head(head).get(str(config.get("model_type"))) or not isinstance(theirs, dict):
        return None
    try:
        ordered = [str(theirs[number]) for number in sorted(theirs, key=int)]
    except ValueError:
        raise UserError(f"{where}: the keys of id2label in its config.json should be numbers") from None
    numbers = config.get("label2id")
    if isinstance(numbers, dict):
        for number, label in enumerate(ordered):
            if numbers.get(label, number) != number:
                raise UserError(
                    f"{where}: its config.json contradicts itself: id2label calls class {number} {label!r}, label2id "
                    f"says that this is class {numbers[label]}; mend it"
                )
    if set(ordered) == set(labels):
        return ordered
    spelled = {_plain(label): label for label in ordered}
    if len(spelled) == len(ordered) and spelled.keys() == {_plain(label) for label in labels}:
        mine = next(label for label in labels if label not in ordered)
        raise UserError(
            f"{where}: its labels differ from the data's in spelling alone: {spelled[_plain(mine)]!r} and {mine!r}; "
            "write those of the data as the checkpoint does, or name other weights"
        )
    return None


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").split())
