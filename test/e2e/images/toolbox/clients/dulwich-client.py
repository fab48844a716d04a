#!/opt/py/bin/python
"""dulwich-client.py clone URL DIR | fetch DIR  [--depth N] [--user U --password P]"""

from command_line import run
from dulwich import porcelain


def common(args):
    credentials = {"username": args.user, "password": args.password} if args.user else {}
    return {"depth": args.depth, "errstream": porcelain.NoneStream(), **credentials}


def clone(args):
    porcelain.clone(args.url, args.dir, **common(args))


def fetch(args):
    porcelain.fetch(args.dir, "origin", **common(args))


run(clone, fetch)
