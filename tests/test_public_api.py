"""What a caller may lean on: the names, their documentation, the tree of exceptions."""

from __future__ import annotations

import configparser
import errno
import importlib
import inspect
import io
import os
import pickle
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from archive7 import errors

TREE = Path(__file__).resolve().parent.parent
SOURCE = TREE / "archive7"

# Every exception with a place in the tree, and what it must be caught as.
EXCEPTIONS: dict[str, tuple[str | type[BaseException], ...]] = {
    "Archive7Error": (Exception,),
    # never ours
    "FormatError": ("Archive7Error",),
    "NotAnArchiveError": ("FormatError",),
    "VersionError": ("FormatError",),
    # the key
    "WrongKeyError": ("Archive7Error",),
    "SuiteUnavailableError": ("Archive7Error",),
    # ours and damaged
    "CorruptError": ("Archive7Error",),
    "SuperblockCorruptError": ("CorruptError",),
    "BlockCorruptError": ("CorruptError",),
    "RollbackError": ("CorruptError",),
    "TreeCorruptError": ("CorruptError",),
    "RecordCorruptError": ("CorruptError",),
    "SnapshotExpiredError": ("Archive7Error",),
    # the caller's mistake
    "UsageError": ("Archive7Error",),
    "UnauthenticatedError": ("UsageError", ValueError),
    "ClosedError": ("UsageError", ValueError),
    "ReadOnlyError": ("UsageError", io.UnsupportedOperation),
    "TransactionError": ("UsageError",),
    # the surroundings
    "LockedError": ("Archive7Error", BlockingIOError),
    "FullError": ("Archive7Error", OSError),
    # paths inside the archive
    "PathError": ("Archive7Error", OSError),
    "NotFoundError": ("PathError", FileNotFoundError),
    "ExistsError": ("PathError", FileExistsError),
    "IsADirectoryError": ("PathError", IsADirectoryError),
    "NotADirectoryError": ("PathError", NotADirectoryError),
    "NotEmptyError": ("PathError",),
    "NotPermittedError": ("PathError", PermissionError),
    "NameTooLongError": ("PathError",),
}

# What the operating system would set for the same mistake; EIO for the rest of the OSErrors.
ERRNOS = {
    "ReadOnlyError": errno.EROFS,
    "LockedError": errno.EAGAIN,
    "FullError": errno.ENOSPC,
    "NotFoundError": errno.ENOENT,
    "ExistsError": errno.EEXIST,
    "IsADirectoryError": errno.EISDIR,
    "NotADirectoryError": errno.ENOTDIR,
    "NotEmptyError": errno.ENOTEMPTY,
    "NotPermittedError": errno.EPERM,
    "NameTooLongError": errno.ENAMETOOLONG,
    "LoopError": errno.ELOOP,
}

ARCHIVE_NAMES = """
    open read_bytes write_bytes read_text write_text listdir scandir walk glob find stat lstat
    exists isfile isdir islink mkdir makedirs remove rmdir rmtree rename replace copy symlink
    readlink link chmod chown utime truncate getxattr setxattr listxattr removexattr import_tree
    export_tree transaction commit rollback sync refresh check compact info close closed mode name
    deleted undelete purge header keys
""".split()

STREAMS_NAMES = """
    BaseStream BaseStreamManager DataStream DynamicMultiStreamManager FixedMultiStreamManager
    InternalStream Registry SingleStreamManager StreamBlock StreamManager StreamRegistry
    VirtualFileObject
""".split()


def module_names() -> list[str]:
    """List archive7 and every module below it, except the one that runs the command line."""
    names = [
        ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(SOURCE.rglob("*.py"))
    ]
    return [name for name in names if not name.endswith("__main__")]


def exception_type(name: str) -> type[BaseException]:
    found = getattr(errors, name)
    assert isinstance(found, type)
    assert issubclass(found, BaseException)
    return found


def names_below(base: type[BaseException]) -> list[str]:
    """List the exceptions of errors.py that derive from `base`."""
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return sorted({kind.__name__ for kind in found if issubclass(kind, base)})


def make(name: str) -> Any:
    """Build the exception as the library would, with all that it can carry."""
    kind: Any = exception_type(name)
    if issubclass(kind, errors.CorruptError):
        return kind("digest differs", block=7, stream=uuid.UUID(int=3), path="/notes/today.txt")
    if issubclass(kind, OSError):
        code = ERRNOS.get(name, errno.EIO)
        return kind(code, os.strerror(code), "/notes/today.txt")
    return kind("no key fits; give the password that the archive was made with")


def exports(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield each class and function of __all__, and their public methods and properties."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__.startswith("archive7"):
            yield name, value
            for attribute, member in inspect.getmembers_static(value):
                if not attribute.startswith("_") and is_documentable(member):
                    yield f"{name}.{attribute}", getattr(value, attribute)
        elif inspect.isfunction(value):
            yield name, value


def is_documentable(member: object) -> bool:
    """Tell whether this is a method or property written in archive7, not one of a builtin base."""
    if isinstance(member, property):
        member = member.fget
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    return inspect.isfunction(member) and member.__module__.startswith("archive7")


@pytest.mark.parametrize("name", module_names())
def test_all_is_sorted_and_names_what_exists(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])

    assert list(names) == sorted(set(names))
    assert [missing for missing in names if not hasattr(module, missing)] == []


@pytest.mark.parametrize("name", ["archive7", "archive7.streams"])
def test_facade_has_all(name: str) -> None:
    assert importlib.import_module(name).__all__


@pytest.mark.parametrize("name", ["archive7", "archive7.streams"])
def test_everything_exported_is_documented(name: str) -> None:
    module = importlib.import_module(name)

    assert inspect.getdoc(module)
    assert [found for found, value in exports(module) if not inspect.getdoc(value)] == []


def test_archive_has_the_documented_names() -> None:
    archive = importlib.import_module("archive7").Archive

    assert [name for name in ARCHIVE_NAMES if not hasattr(archive, name)] == []


def test_streams_exports_every_name_of_the_seed() -> None:
    assert set(STREAMS_NAMES) - set(importlib.import_module("archive7.streams").__all__) == set()


def test_open_has_the_documented_signature() -> None:
    parameters = inspect.signature(importlib.import_module("archive7").open).parameters

    assert list(parameters)[:2] == ["path", "mode"]
    assert parameters["mode"].default == "r"
    assert [parameters[name].kind for name in ("key", "password")] == [
        inspect.Parameter.KEYWORD_ONLY
    ] * 2
    assert [parameters[name].default for name in ("key", "password")] == [None] * 2


def test_version_is_the_one_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(TREE / "setup.cfg", encoding="utf-8")

    assert config["metadata"]["version"] == importlib.import_module("archive7").__version__


def test_what_other_programs_import_is_this_tree(tmp_path: Path) -> None:
    # Subprocesses of tests import the installed package: an old one would pass in silence, and
    # a file that setup.cfg does not ship would be missed.
    run = subprocess.run(
        [sys.executable, "-c", "import archive7; print(archive7.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        missing = f"archive7 is not installed here (make install): {run.stderr}"
        if os.environ.get("ARCHIVE7_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    installed = Path(run.stdout.strip()).parent

    assert contents(installed) == contents(SOURCE), "make install brings the package up to date"


def contents(folder: Path) -> dict[str, bytes]:
    files = [*folder.rglob("*.py"), *folder.rglob("py.typed")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exception_is_caught_as(name: str) -> None:
    bases = [exception_type(b) if isinstance(b, str) else b for b in EXCEPTIONS[name]]

    assert [base for base in bases if not issubclass(exception_type(name), base)] == []


@pytest.mark.parametrize("name", names_below(errors.Archive7Error))
def test_exception_has_a_name_and_a_docstring(name: str) -> None:
    kind = exception_type(name)

    assert name.endswith("Warning" if issubclass(kind, Warning) else "Error")
    assert kind.__doc__


@pytest.mark.parametrize("name", names_below(errors.Archive7Error))
def test_exception_pickles(name: str) -> None:
    error = make(name)
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert copy.args == error.args
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("name", names_below(OSError))
def test_os_error_carries_errno_and_filename(name: str) -> None:
    kind = exception_type(name)
    error = make(name)
    copy = pickle.loads(pickle.dumps(error))

    assert "__init__" not in vars(kind)
    assert error.errno == copy.errno == ERRNOS.get(name, errno.EIO)
    assert error.filename == copy.filename == "/notes/today.txt"
    assert "/notes/today.txt" in str(error)


@pytest.mark.parametrize("name", names_below(errors.CorruptError))
def test_damage_is_never_an_os_error(name: str) -> None:
    assert not issubclass(exception_type(name), OSError | ValueError | LookupError)


@pytest.mark.parametrize("name", names_below(errors.CorruptError))
def test_damage_tells_where(name: str) -> None:
    error = make(name)
    copy = pickle.loads(pickle.dumps(error))

    for told in (error, copy):
        assert told.reason == "digest differs"
        assert (told.block, told.stream, told.path) == (7, uuid.UUID(int=3), "/notes/today.txt")
        assert "7" in str(told)
        assert "/notes/today.txt" in str(told)
