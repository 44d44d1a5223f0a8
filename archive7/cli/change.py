"""The verbs that change names: rm, mkdir, mv.

Each is one transaction: all that was named, or nothing.
"""

from __future__ import annotations

import posixpath
import stat

import click

from archive7 import Archive

from .failure import WRONG_USE, Refusal
from .vault import Vault, takes_vault, vault_options


@click.command()
@takes_vault
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is in them.")
@click.option("-f", "--force", is_flag=True, help="What is not there is no error.")
@vault_options
def rm(vault: Vault, paths: tuple[str, ...], recursive: bool, force: bool) -> None:
    """Remove files, links and directories.

    All that are named, or none.  What is removed cannot be brought back.

    \b
      ar7 rm vault.ar7 letters/draft.txt
      ar7 rm -r vault.ar7 letters/2019 letters/2020
    """
    with vault.writing() as (archive, _):
        for path in paths:
            try:
                status = archive.lstat(path)
            except FileNotFoundError:
                if force:
                    continue
                raise
            if not stat.S_ISDIR(status.st_mode):
                archive.remove(path)
            elif recursive:
                _remove_tree(archive, path)
            else:
                raise Refusal(f"{path} is a directory: rm -r removes it", WRONG_USE)


def _remove_tree(archive: Archive, top: str) -> None:
    """Remove a directory from its leaves up."""
    if posixpath.normpath(f"/{top}") in {"/", "//"}:
        raise Refusal("the root directory cannot be removed: name what is in it", WRONG_USE)
    for folder, folders, files in archive.walk(top, topdown=False):
        for name in files:
            archive.remove(posixpath.join(folder, name))
        for name in folders:
            path = posixpath.join(folder, name)
            if archive.islink(path):
                archive.remove(path)
            else:
                archive.rmdir(path)
    archive.rmdir(top)


@click.command()
@takes_vault
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-p", "--parents", is_flag=True, help="With parents; what is there is no error.")
@vault_options
def mkdir(vault: Vault, paths: tuple[str, ...], parents: bool) -> None:
    """Make directories.

    All that are named, or none.

    \b
      ar7 mkdir -p vault.ar7 letters/2026/june
    """
    with vault.writing() as (archive, _):
        for path in paths:
            if parents:
                archive.makedirs(path, exist_ok=True)
            else:
                archive.mkdir(path)


@click.command()
@takes_vault
@click.argument("sources", metavar="PATH...", nargs=-1, required=True)
@click.argument("target", metavar="TARGET")
@vault_options
def mv(vault: Vault, sources: tuple[str, ...], target: str) -> None:
    """Rename or move files and directories.

    All that are named, or none.  If TARGET is a directory, PATH goes into it; several can be
    given then.  A file that has the name already is replaced, as with the mv of the system.

    \b
      ar7 mv vault.ar7 draft.txt final.txt
      ar7 mv vault.ar7 a.txt b.txt letters
    """
    with vault.writing() as (archive, _):
        into = archive.isdir(target)
        if len(sources) > 1 and not into:
            raise Refusal(
                f"{target} is no directory in the archive: to move several things, "
                f"make it first (ar7 mkdir {vault.path} {target})",
                WRONG_USE,
            )
        for source in sources:
            name = posixpath.basename(source.rstrip("/"))
            archive.replace(source, posixpath.join(target, name) if into else target)
