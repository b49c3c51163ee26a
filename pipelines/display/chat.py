"""A conversation on a terminal, or line by line from a file."""

import sys
from collections.abc import Iterator
from typing import Any

from modelmill.core.errors import UserError
from modelmill.pipelines.display.text import complain, printable
from modelmill.pipelines.models.chat import Chat, Said


def hold(chat: Chat, heading: str, is_quiet: bool) -> list[dict[str, Any]]:
    """Ask the model each line of standard input, and print the answers as they come; return the conversation.

    Args:
        chat: The conversation.
        heading: What is said first on a terminal.
        is_quiet: Whether nothing is printed.

    Raises:
        UserError: The model refuses a message, and nobody is there to write another.
    """
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        print(heading, file=sys.stderr)
    for line in _lines(is_terminal):
        try:
            said = chat.ask(line, _nothing if is_quiet else _show)
        except UserError as error:
            if not is_terminal:
                raise
            complain(str(error))
            continue
        if not is_quiet:
            print(flush=True)
        _note(said)
    return chat.messages


def _lines(is_terminal: bool) -> Iterator[str]:
    """Yield lines with something in them, until the input ends or is interrupted."""
    if is_terminal:
        _edit_lines()
    while True:
        try:
            line = input("> ") if is_terminal else input()
        except (EOFError, KeyboardInterrupt):
            if is_terminal:
                print(file=sys.stderr)
            return
        except UnicodeDecodeError as error:
            raise UserError(f"standard input: not UTF-8 ({error.reason})") from error
        if line.strip():
            yield line


def _edit_lines() -> None:
    """Let arrow keys edit a line and find earlier ones, where Python has readline."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return


def _show(piece: str) -> None:
    print("".join(c if c in "\n\t" else printable(c) for c in piece), end="", flush=True)


def _nothing(piece: str) -> None:
    return None


def _note(said: Said) -> None:
    if said.dropped:
        complain(f"the conversation no longer fits: the model did not see its oldest {said.dropped} messages")
    if said.is_cut:
        complain(f"the answer ends at {said.tokens} tokens; --max-tokens allows more")
