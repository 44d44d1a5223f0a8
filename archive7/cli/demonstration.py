"""The verb demo."""

from __future__ import annotations

import click

from archive7 import demo as show

from .failure import ANSWER_IS_NO, DONE


@click.command()
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="What to pack (default: the tree of this project).",
)
def demo(folder: str | None) -> int:
    """Show what archive7 does, with a real folder.

    Packs it into an encrypted archive, reads all of it back, compares, changes a file, reopens,
    checks, tries a wrong password.  Works in a temporary folder and changes nothing else.

    \b
      ar7 demo
      ar7 demo --folder ~/letters
    """
    return DONE if show.run(folder or show.find_folder()) else ANSWER_IS_NO
