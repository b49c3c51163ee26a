"""Every document leads somewhere, and the commands that it shows exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.pipelines.cli import LazyGroup, build

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/**/*.md", "benchmarks/README.md", "components/*/README.md")
DOCUMENTS = sorted(path for place in PLACES for path in ROOT.glob(place))
SCRIPTS = [path for path in [*(ROOT / "k8s").iterdir(), ROOT / "Makefile"] if path.is_file() and path.suffix != ".py"]
IN_CODE = re.compile(r"^(```.*?\n)(.*?)^```|^    \S.*\n", re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The headings of a document as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def commands(path: Path) -> Iterator[list[str]]:
    """The command lines of modelmill in a document's code, or in a script."""
    text = path.read_text()
    shown = "".join(found[0] for found in IN_CODE.finditer(text)) if path.suffix == ".md" else text
    for line in shown.replace("\\\n", " ").splitlines():
        if found := re.search(r"(?:^\s*|/|\w=\S+\s+)modelmill ([a-z].*)", line.partition("    #")[0]):
            yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("path", [*DOCUMENTS, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(path: Path) -> None:
    for words in commands(path):
        command, rest = build(), words
        while isinstance(command, LazyGroup):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        command = command.load()
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known]
        assert not unknown, words


def test_commands_are_found_where_they_are_shown() -> None:
    assert ["submit", "recipes/$recipe.yaml", "--set", "data.path=s3://modelmill/data/$recipe"] in [
        words[:4] for words in commands(ROOT / "k8s" / "e2e")
    ]
    assert len(list(commands(ROOT / "docs" / "submit.md"))) >= 6
    assert len(list(commands(ROOT / "README.md"))) >= 20
