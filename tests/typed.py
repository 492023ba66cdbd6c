"""The commands that a document tells to type: found, parsed without running, and run in this process."""

import re
import shlex
import sys

import pytest
import typer.main

from likewise.cli import app, main, register

__all__ = ["parse", "run", "typed_commands"]

LINE = re.compile(r"^(?:    )?(?:torchrun .* -m )?(likewise .*)$", flags=re.MULTILINE)
BLOCK = re.compile(r"(?:^    .*\n)+|^```(?:bash|sh)\n.*?^```", flags=re.MULTILINE | re.DOTALL)


def typed_commands(text: str) -> list[list[str]]:
    """The words of each `likewise ...` line of an indented block or a block of bash, in order."""
    blocks = "\n".join(BLOCK.findall(text)).replace("\\\n", " ")
    lines = [re.split(r"\s#\s?", line)[0] for line in LINE.findall(blocks)]
    return [shlex.split(part) for line in lines for part in re.split(r"\s;\s", line)]


def parse(words: list[str]) -> None:
    """Fails where the command, an option or its value is not there; runs nothing."""
    register()
    name, *rest = words
    command, context = typer.main.get_command(app), None
    while hasattr(command, "commands"):
        context = command.make_context(name, list(rest), parent=context)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, list(rest), parent=context)


def run(words: list[str], patch: pytest.MonkeyPatch) -> int:
    """The exit code."""
    patch.setattr(sys, "argv", words)
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
