"""The command line that all client scripts have in common."""

import argparse
import sys


def run(clone, fetch):
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name, arguments in (("clone", ("url", "dir")), ("fetch", ("dir",))):
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument)
        command.add_argument("--depth", type=int)
        command.add_argument("--user")
        command.add_argument("--password")
    args = parser.parse_args()
    try:
        (clone if args.command == "clone" else fetch)(args)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
