"""The table of commands says what the commands themselves say, and asking for help imports little."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelmill import pipelines
from modelmill.pipelines.cli import LazyGroup, TableCommand, build
from modelmill.pipelines.commands import table

FOLDER = Path(next(iter(pipelines.__path__))) / "commands"
# Modules of commands/ that are beside the commands.
BESIDE = {"table", "options", "data.arguments"}
# What costs a tenth of a second and more.
HEAVY = {"rich", "yaml", "numpy", "modelmill.recipe", "modelmill.store"}


@pytest.mark.parametrize("words", table.COMMANDS)
def test_a_summary_is_the_first_line_of_its_commands_docstring(words: str) -> None:
    loaded = TableCommand(words, table.COMMANDS[words]).load()
    assert loaded.name == words.split()[-1]
    assert loaded.help.splitlines()[0] == table.COMMANDS[words]
    assert loaded.epilog.startswith(f"Example: modelmill {words}")


def test_every_module_of_commands_is_in_the_table() -> None:
    modules = {
        ".".join(path.relative_to(FOLDER).with_suffix("").parts)
        for path in FOLDER.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert modules - BESIDE == {table.module_of(words) for words in table.COMMANDS}


def test_every_command_of_a_group_is_reached_by_its_words() -> None:
    whole = build()
    reached = []
    for name, command in whole.commands.items():
        inner = command.commands if isinstance(command, LazyGroup) else {"": command}
        reached += [f"{name} {one}".strip() for one in inner]
    assert sorted(reached) == sorted(table.COMMANDS)


@pytest.mark.parametrize("words", ["", "registry", "run", "trigger-server", "data validate"])
def test_help_imports_only_what_it_prints(words: str) -> None:
    heavy = HEAVY if words else HEAVY | {"pydantic"}  # typer reads the words after the first with it
    program = (
        "import sys\nfrom modelmill.pipelines.cli import build\n"
        f"try: build()({[*words.split(), '--help']})\nexcept SystemExit as ended: assert not ended.code\n"
        f"print('imported:', sorted({heavy!r} & set(sys.modules)))\n"
        "print(*(name for name in sys.modules if name.startswith('modelmill.pipelines.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *_, heaviest, imported = done.stdout.splitlines()
    assert heaviest == "imported: []"
    path = f"modelmill.pipelines.commands.{table.module_of(words)}"
    modules = {name for name in imported.split() if name.rpartition(".")[2] not in ("table", "options", "arguments")}
    is_command = words in table.COMMANDS
    parents = {path.rpartition(".")[0]} - {"modelmill.pipelines.commands"} if is_command else set()
    assert modules == ({path} | parents if is_command else set())
