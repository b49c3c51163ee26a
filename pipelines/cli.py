"""The entry point of the command line: finds a command in the table and imports its module only then."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from modelmill.core.errors import ModelmillError, one_line
from modelmill.pipelines.commands import table
from modelmill.pipelines.display.text import complain, print_json


class TableCommand(TyperCommand):
    """A command as the table has it: enough for its group's help, without the module that carries it out."""

    def __init__(self, words: str, summary: str) -> None:
        """Describe a command by its words and its summary."""
        super().__init__(name=words.rpartition(" ")[2], help=summary)
        self.words = words

    def load(self) -> Any:
        """Import the command's module and return the command itself."""
        module = importlib.import_module(f"modelmill.pipelines.commands.{table.module_of(self.words)}")
        loaded = typer.Typer(add_completion=False, rich_markup_mode=None)
        loaded.command(self.name, epilog=f"Example: {module.EXAMPLE}")(module.command)
        return typer.main.get_command(loaded)


class LazyGroup(TyperGroup):
    """A group whose help comes from the table, and whose commands are loaded when they are called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the loaded command and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, TableCommand) else command, rest


def build() -> LazyGroup:
    """Return the whole command line."""
    commands = [TableCommand(words, summary) for words, summary in table.COMMANDS.items()]
    groups = [
        _group(name, summary, [one for one in commands if one.words.startswith(f"{name} ")])
        for name, summary in table.GROUPS.items()
    ]
    return _group("modelmill", table.SUMMARY, [*(one for one in commands if " " not in one.words), *groups])


def main() -> None:
    """Run a command line: errors that a person can act on are one line, with the exit code of their kind."""
    try:
        build()()
    except ModelmillError as error:
        if "--json" in sys.argv:
            print_json({"error": {"kind": error.kind, "message": one_line(error)}, "exit_code": error.exit_code})
        complain(one_line(error))
        sys.exit(error.exit_code)


def _group(name: str, summary: str, commands: list[Any]) -> LazyGroup:
    epilog = table.EXAMPLE if name == "modelmill" else None
    return LazyGroup(
        name=name, help=summary, epilog=epilog, commands=commands, no_args_is_help=True, rich_markup_mode=None
    )


if __name__ == "__main__":
    main()
