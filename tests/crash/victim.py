"""A process that writes to an archive until it is killed: `python victim.py`, driven by test_kill.

It reads lines "path seed" and forks a child for each, which has nothing in common with the one
before but the file.  The child says what it is about to commit and what was acknowledged:
"begin DIGEST", "commit", "durable"; a line is one write to a pipe, which a kill cannot tear.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # behind the installed package

import archive7  # noqa: E402 - after the path is right
from tests.crash.archives import ArchiveSession  # noqa: E402
from tests.crash.history import digest  # noqa: E402

KEY = bytes(range(32))


def tell(what: str) -> None:
    """One line to whoever listens, in one write."""
    os.write(1, f"{what}\n".encode())


def live(path: str, seed: int) -> None:
    """Change the archive for ever."""
    rng = random.Random(seed)
    warnings.simplefilter("ignore", archive7.RecoveredWarning)
    session = ArchiveSession(archive7.open(path, "r+", key=KEY))
    session.model = session.content()
    tell(f"opened {digest(session.model)}")
    while True:
        is_durable = rng.random() < 0.3
        if rng.random() < 0.5:
            session.touch(rng)
        else:
            for _ in range(rng.randint(1, 4)):
                session.step(rng)
        tell(f"begin {digest(session.model)}")
        if rng.random() < 0.03:
            session.close()
            tell("durable")
            session = ArchiveSession(archive7.open(path, "r+", key=KEY), session.model)
            continue
        session.commit(durable=is_durable)
        tell("durable" if is_durable else "commit")


def main() -> None:
    """Fork a child for every line, wait until it is dead."""
    for line in sys.stdin:
        path, _, seed = line.rstrip("\n").rpartition(" ")
        child = os.fork()
        if not child:
            try:
                live(path, int(seed))
            except BaseException as error:  # noqa: BLE001 - told to the test, which fails
                tell(f"error {error!r}")
            os._exit(1)
        tell(f"child {child}")
        os.waitpid(child, 0)
        tell("dead")


if __name__ == "__main__":
    main()
