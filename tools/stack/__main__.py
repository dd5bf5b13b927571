"""`python -m tools.stack up | down | logs | demo | test`: settings from .env and the environment."""

import argparse
import os
import sys

from tools.stack.engine import NoEngine, Stack, engine
from tools.stack.settings import StackSettings, Trouble


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="build, start, wait until everything is ready")
    down = commands.add_parser("down", help="stop; chain, keys and outboxes stay")
    down.add_argument("--wipe", action="store_true", help="and forget the chain, the keys and the outboxes")
    logs = commands.add_parser("logs", help="what the services say")
    logs.add_argument("rest", nargs=argparse.REMAINDER, help="for docker compose logs (default: --follow)")
    demo = commands.add_parser("demo", help="rounds in containers, then a gated inference and an audit from here")
    demo.add_argument("--keep", action="store_true", help="leave it running")
    commands.add_parser("test", help="what must hold of a stack, kill -9 included")
    options = parser.parse_args()
    try:
        if options.command == "test":
            from tools.stack.trial import trial

            return trial(say)
        settings = StackSettings.read(os.environ)
        with engine(say):
            stack = Stack(settings, say)
            if options.command == "up":
                stack.prepare()
                stack.build()
                stack.up()
                _addresses(settings)
            elif options.command == "down":
                stack.down(wipe=options.wipe)
            elif options.command == "logs":
                stack.hand_over("logs", *(options.rest or ["--follow"]))
            else:
                from tools.stack.demo import demo as play

                play(stack, say, keep=options.keep)
    except NoEngine as trouble:
        say(f"stack: {trouble}")
        return 3
    except Trouble as trouble:
        say(f"stack: {trouble}")
        return 1
    return 0


def _addresses(settings: StackSettings) -> None:
    say(f"\nRunning as {settings.project}, all on 127.0.0.1:")
    for port in settings.ports():
        what = "metrics" if port.variable == "METRICS_PORT" else port.service
        say(f"  {what:<13} {f'http://localhost:{port.number}' if what.startswith('page') else port.number}")
    say("Stop with `make down`; watch with `make logs`.")


if __name__ == "__main__":
    sys.exit(main())
