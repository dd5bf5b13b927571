"""`python -m services.trainer.simulation SETTINGS`: what `linklearner simulate` starts, once it has read what was typed.

SETTINGS: `Simulation.to_json`, the output's format and the file of the report, if one is wanted.
"""

import argparse
import os
import sys
from pathlib import Path

from linklearner.output import Format, console, reporting, write_json
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
            Path(arguments.report).write_text(simulation_page(result), encoding="utf-8")
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
    except KeyboardInterrupt:  # the workers are ended; nothing is half written
        sys.stderr.write("stopped\n")
        sys.stderr.flush()
        os._exit(130)
