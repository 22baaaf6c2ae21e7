"""The command line's help: options in panels, examples below."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

NETWORK, CIRCUIT, SIMULATION = "Data and network", "Circuit and mapping", "Simulation"
TRAINING, MONEY = "Training", "Device and money"

#: The panels in their order; what belongs to no other comes last.
PANELS = ("Arguments", NETWORK, CIRCUIT, SIMULATION, TRAINING, MONEY, "Options")


class Command(TyperCommand):
    """A command whose help groups its options by panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, one section for each panel."""
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            rest = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panels[getattr(parameter, "rich_help_panel", None) or rest].append(record)
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def examples(*lines: str) -> str:
    """Return the end of a command's help: lines to type, as they stand."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def normalized(word: str) -> str:
    """Return an option's or command's name as it is declared: case and kind of dash are free."""
    return word.lower().replace("_", "-")


#: What holds for the root and every command below it.
CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": normalized,
}
