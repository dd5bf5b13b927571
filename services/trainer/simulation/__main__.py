"""`python -m services.trainer.simulation SETTINGS`: what `linklearner simulate` starts, once it has read what was typed.

SETTINGS: `Simulation.to_json`, the output's format and the file of the report, if one is wanted.
"""

import argparse
import sys
from pathlib import Path

import typer

from linklearner.output import Format, console, reporting, write_json
from linklearner.report.page import publish
from linklearner.report.simulated import simulation_page
from linklearner.simulation import Simulation, SimulationResult
from services.trainer.simulation.run import simulate
from services.trainer.simulation.screen import show_result


def main(arguments: argparse.Namespace) -> None:
    format = Format(arguments.format)
    with reporting(format):
        result: SimulationResult = simulate(Simulation.from_json(arguments.settings), console(format))
        if format is Format.JSON:
            write_json(result.document(), indent=2)
        else:
            show_result(result, console(format))
        if arguments.report:
            publish(Path(arguments.report), simulation_page(result).encode())
            console(format).print(f"report: {arguments.report}", soft_wrap=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="services.trainer.simulation")
    parser.add_argument("settings")
    parser.add_argument("--format", default=Format.TEXT.value, choices=[one.value for one in Format])
    parser.add_argument("--report", default="")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(parsed())
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except KeyboardInterrupt:  # its workers are ended by now, and nothing is half written
        print("stopped", file=sys.stderr)
        sys.exit(130)
