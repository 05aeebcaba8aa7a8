"""The command line: ``python -m sdnet``."""

from importlib import import_module

import click

MODULES = {
    "train": ("train",),
    "launch": ("launch",),
    "evaluate": ("sweep", "policies", "attack", "visual", "precision", "guarantee"),
    "knob": ("fourier", "confidence", "certify"),
    "family": ("pursuit", "follow"),
    "bench": ("bench",),
    "campaign": ("status", "campaign"),
    "book": ("publish", "sizes", "ablate", "renew"),
}
"""Module of this package → its commands."""
COMMANDS = {command: module for module, commands in MODULES.items() for command in commands}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for: what all of them need takes seconds to load."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = getattr(import_module(f"sdnet.cli.{COMMANDS[cmd_name]}"), cmd_name)
        except ModuleNotFoundError as error:
            needed = f"`{cmd_name}` needs {error.name}; install it with pip install 'sdnet[book]'."
            raise click.ClickException(needed) from error
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train and measure networks of convolutional sparse coding layers."""
