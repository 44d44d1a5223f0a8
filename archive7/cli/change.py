"""The verbs that change names: rm, undelete, cp, mkdir, mv.

Each is one transaction: all that was named, or nothing.
"""

from __future__ import annotations

import posixpath
import stat

import click

from archive7 import Archive, Delete

from .failure import WRONG_USE, Refusal
from .report import say, shown
from .vault import Vault, takes_vault, vault_options


@click.command()
@takes_vault
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is in them.")
@click.option("-f", "--force", is_flag=True, help="What is not there is no error.")
@click.option(
    "--how",
    type=click.Choice([how.name.lower() for how in Delete]),
    default="erase",
    show_default=True,
    help="soft: undelete restores it; hard: only the record is kept; erase: nothing is left.",
)
@click.option("--blank", is_flag=True, help="Overwrite what was freed (erase and hard).")
@vault_options
def rm(
    vault: Vault, paths: tuple[str, ...], recursive: bool, force: bool, how: str, blank: bool
) -> None:
    """Remove files, links and directories.

    All that are named, or none.  What is removed cannot be brought back, unless with --how soft.

    \b
      ar7 rm vault.ar7 letters/draft.txt
      ar7 rm -r vault.ar7 letters/2019 letters/2020
      ar7 rm --how soft vault.ar7 letters/draft.txt
    """
    way = Delete[how.upper()]
    with vault.writing() as (archive, _):
        for path in paths:
            try:
                status = archive.lstat(path)
            except FileNotFoundError:
                if force:
                    continue
                raise
            if not stat.S_ISDIR(status.st_mode):
                archive.remove(path, how=way, blank=blank)
            elif not recursive:
                raise Refusal(f"{path} is a directory: rm -r removes it", WRONG_USE)
            elif posixpath.normpath(f"/{path}") in {"/", "//"}:
                raise Refusal(
                    "the root directory cannot be removed: name what is in it", WRONG_USE
                )
            else:
                archive.rmtree(path, how=way, blank=blank)


@click.command()
@takes_vault
@click.argument("path", metavar="PATH")
@click.option("--to", metavar="PATH", help="Where to put it; default: where it stood.")
@vault_options
def undelete(vault: Vault, path: str, to: str | None) -> None:
    """Restore what was removed with --how soft.

    PATH is where it stood; of several the last one removed comes back.  `ar7 deleted` lists them.

    \b
      ar7 undelete vault.ar7 letters/draft.txt
    """
    with vault.writing() as (archive, _):
        say(shown(archive.undelete(path, to)))


@click.command()
@takes_vault
@click.argument("sources", metavar="PATH...", nargs=-1, required=True)
@click.argument("target", metavar="TARGET")
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is in them.")
@vault_options
def cp(vault: Vault, sources: tuple[str, ...], target: str, recursive: bool) -> None:
    """Copy files and directories inside the archive.

    All that are named, or none.  If TARGET is a directory, PATH goes into it; several can be
    given then.  Mode, time, owners and extended attributes go along; links stay links with -r.

    \b
      ar7 cp vault.ar7 draft.txt final.txt
      ar7 cp -r vault.ar7 letters letters-2026
    """
    with vault.writing() as (archive, _):
        into = _is_target(archive, vault, sources, target, "copy")
        for source in sources:
            if not recursive and archive.isdir(source):
                raise Refusal(f"{source} is a directory: cp -r copies it", WRONG_USE)
            name = posixpath.basename(source.rstrip("/"))
            archive.copy(
                source,
                posixpath.join(target, name) if into else target,
                follow_symlinks=not recursive,
            )


def _is_target(
    archive: Archive, vault: Vault, sources: tuple[str, ...], target: str, verb: str
) -> bool:
    """Whether the target is a directory, which it must be for several sources."""
    into = archive.isdir(target)
    if len(sources) > 1 and not into:
        raise Refusal(
            f"{target} is no directory in the archive: to {verb} several things, "
            f"make it first (ar7 mkdir {vault.path} {target})",
            WRONG_USE,
        )
    return into


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
        into = _is_target(archive, vault, sources, target, "move")
        for source in sources:
            name = posixpath.basename(source.rstrip("/"))
            archive.replace(source, posixpath.join(target, name) if into else target)
