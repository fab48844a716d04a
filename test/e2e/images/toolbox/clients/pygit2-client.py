#!/opt/py/bin/python
"""pygit2-client.py clone URL DIR | fetch DIR  [--depth N] [--user U --password P]"""

import pygit2
from command_line import run


def callbacks(args):
    credentials = pygit2.UserPass(args.user, args.password or "") if args.user else None
    return pygit2.RemoteCallbacks(credentials=credentials)


def clone(args):
    pygit2.clone_repository(args.url, args.dir, callbacks=callbacks(args), depth=args.depth or 0)


def fetch(args):
    remote = pygit2.Repository(args.dir).remotes["origin"]
    remote.fetch(callbacks=callbacks(args), depth=args.depth or 0)


run(clone, fetch)
