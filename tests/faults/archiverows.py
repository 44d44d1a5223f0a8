"""Every public operation of an archive, of its files and of its paths, for fault injection."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from archive7 import Archive, ArchivePath, Delete, Q
from tests.devices import RecordingDevice
from tests.faults.engine import Row
from tests.unit.archives import KEY, noise, open_archive

HOST = Path(__file__).parent.parent / "typing"  # a small tree
_OWNER = UUID(int=5)


class _UndoneError(Exception):
    pass


def _update(archive: Archive, _: object) -> bytes:
    with archive.open("/dir/big", "r+b") as file:
        file.seek(5000)
        file.write(noise(9000, 5))
        file.flush()
        file.seek(0)
        data = file.read(100)
        file.truncate(11_000)
    return data


def _transaction(archive: Archive, _: object) -> None:
    with archive.transaction():
        archive.write_bytes("/one", noise(6000, 1))
        with archive.transaction():
            archive.rename("/one", "/two")
        archive.remove("/dir/small")


def _begin_end(archive: Archive, _: object) -> None:
    savepoint = archive.begin_transaction()
    failed = True
    try:
        archive.mkdir("/one")
        failed = False
    finally:
        archive.end_transaction(savepoint, failed=failed)


def _undone(archive: Archive, _: object) -> None:
    try:
        with archive.transaction():
            archive.write_bytes("/one", noise(6000, 1))
            try:
                with archive.transaction():
                    archive.remove("/one")
                    raise _UndoneError
            except _UndoneError:
                archive.mkdir("/three")
            raise _UndoneError
    except _UndoneError:
        pass


def _many(archive: Archive, _: object) -> None:
    with archive.transaction():
        for number in range(250):
            archive.write_bytes(f"/many{number}", noise(100, number))


def _export(archive: Archive, folder: Any) -> tuple[int, int, list[str]]:
    done = archive.export_tree("/", Path(folder.name) / "out")
    out = Path(folder.name) / "out"
    assert (out / "dir" / "big").read_bytes() == noise(40_000, 1)
    return done.files, done.bytes, sorted(str(p.relative_to(out)) for p in out.rglob("*"))


def _backup(archive: Archive, folder: Any) -> int:
    path = Path(folder.name) / "header"
    archive.keys.export_header(path)
    return path.stat().st_size


class _Folder:
    """A folder of the host that goes with whoever holds it."""

    def __init__(self, _: object) -> None:
        self.name = tempfile.mkdtemp(prefix="archive7-faults-")

    def __del__(self) -> None:
        shutil.rmtree(self.name, ignore_errors=True)


def _imported(archive: Archive, _: object) -> int:
    return archive.import_tree(HOST, "/imported").files


def _newer(reader: Archive) -> None:
    """Let a writer commit behind the back of a reader."""
    disk = reader._container.device.inner.disk  # type: ignore[attr-defined]
    with open_archive(RecordingDevice(disk), "r+") as writer:
        writer.write_bytes("/newer", noise(5000, 8))


def _read_all(archive: Archive, _: object) -> list[Any]:
    return [
        archive.listdir("/dir"),
        list(archive.walk("/")),
        list(archive.walk("/", topdown=False, onerror=_raise)),
        list(archive.glob("**/*")),
        list(archive.glob("dir/[bs]*")),
    ]


def _raise(error: OSError) -> None:
    raise error


def _change(name: str, run: Any, *covers: str, **options: Any) -> Row:
    return Row(name, covers or (name.partition(" ")[0],), lambda a, _: run(a), **options)


def _look(name: str, run: Any, *covers: str, **options: Any) -> Row:
    return Row(name, covers or (name.partition(" ")[0],), lambda a, _: run(a), states=1, **options)


def _with_other_key(archive: Archive) -> None:
    if "other" not in [info.label for info in archive.keys.list()]:
        archive.keys.add(key=bytes(32), label="other")


ARCHIVE_ROWS = [
    Row("open", ("open",), _update, states=3, is_loose=True, retries=True),
    _change("write_bytes", lambda a: a.write_bytes("/new", noise(3000))),
    _change("write_bytes big", lambda a: a.write_bytes("/new", noise(1_400_000))),
    _change("write_bytes over", lambda a: a.write_bytes("/dir/big", noise(20_000, 9))),
    _change("write_text", lambda a: a.write_text("/dir/small", "text")),
    _change("truncate", lambda a: a.truncate("/dir/big", 5)),
    _change("truncate longer", lambda a: a.truncate("/dir/small", 50_000)),
    _change("mkdir", lambda a: a.mkdir("/new")),
    _change("makedirs", lambda a: a.makedirs("/new/er/est")),
    _change("makedirs exist_ok", lambda a: a.makedirs("/tree/below/new", exist_ok=True)),
    _change("remove", lambda a: a.remove("/dir/big")),
    _change("remove soft", lambda a: a.remove("/dir/big", how=Delete.SOFT)),
    _change("remove hard", lambda a: a.remove("/dir/big", how=Delete.HARD)),
    _change("remove blank", lambda a: a.remove("/dir/big", blank=True)),
    _change("unlink", lambda a: a.unlink("/twice")),
    _change("rmdir", lambda a: a.rmdir("/empty")),
    _change("rmtree", lambda a: a.rmtree("/tree")),
    _change("rmtree quiet", lambda a: a.rmtree("/tree", ignore_errors=True)),
    _change("rmtree hard", lambda a: a.rmtree("/dir", how=Delete.HARD)),
    _change("rmtree soft", lambda a: a.rmtree("/tree", how=Delete.SOFT)),
    _look("deleted", lambda a: a.deleted()),
    _change("undelete", lambda a: a.undelete("/gone")),
    _change("undelete to", lambda a: a.undelete("/gone", "/dir/back")),
    _change("purge", lambda a: a.purge()),
    _change("purge one blank", lambda a: a.purge("/gone", blank=True)),
    _change("rename", lambda a: a.rename("/dir", "/moved")),
    _change("rename over", lambda a: a.rename("/late", "/dir/big")),
    _change("replace", lambda a: a.replace("/dir/big", "/dir/small")),
    _change("copy", lambda a: a.copy("/dir/big", "/copied")),
    _change("copy into", lambda a: a.copy("/late", "/dir")),
    _change("copy over", lambda a: a.copy("/dir/small", "/dir/big")),
    _change("copy tree", lambda a: a.copy("/tree", "/grown")),
    _change("link", lambda a: a.link("/dir/big", "/other")),
    _change("symlink", lambda a: a.symlink("x", "/new")),
    _change("chmod", lambda a: a.chmod("/dir/big", 0o600)),
    _change("utime", lambda a: a.utime("/dir/big", ns=(5, 5))),
    _change("chown", lambda a: a.chown("/dir/big", 5, "somebody")),
    _change("set_owner", lambda a: a.set_owner("/dir/big", _OWNER)),
    _change("setxattr", lambda a: a.setxattr("/dir/big", "user.x", noise(6000, 1))),
    _change("removexattr", lambda a: a.removexattr("/dir/small", "user.kind")),
    _change("set_header", lambda a: a.set_header(title="another")),
    Row("transaction", ("transaction", "in_transaction"), _transaction),
    Row("begin_transaction", ("begin_transaction", "end_transaction"), _begin_end),
    Row("transaction undone", ("transaction",), _undone, states=1, rolls_back=True),
    Row("many", ("transaction",), _many),
    Row("import_tree", ("import_tree",), _imported),
    Row("export_tree", ("export_tree",), _export, _Folder, states=1),
    _look("commit", lambda a: a.commit(durable=True)),
    _look("sync", lambda a: a.sync()),
    _look("rollback", lambda a: a.rollback(), rolls_back=True),
    _look("check", lambda a: list(a.check())),
    _look("check quick", lambda a: list(a.check("quick"))),
    _look("compact", lambda a: a.compact(force=True).is_complete),
    _look("receipt", lambda a: a.receipt()),
    _look("guard_memory", lambda a: a.guard_memory()),
    _look("keys list", lambda a: a.keys.list(), "keys"),
    _look("keys add", _with_other_key, "keys", ends_session=True),
    _look("keys remove", lambda a: (_with_other_key(a), a.keys.remove("other")), "keys",
          ends_session=True),
    _look("keys change", lambda a: a.keys.change(key=KEY, label="same") and None, "keys",
          ends_session=True),
    Row("keys export_header", ("keys",), _backup, _Folder, states=1),
    _look("rekey", lambda a: a.rekey([] if a.info().is_rekeying else [KEY]).is_complete,
          ends_session=True),
    _look("close", lambda a: a.close(), "close", "closed"),
    _look("with", lambda a: a.__enter__().__exit__(None, None, None), "__enter__", "__exit__",
          "check_open"),
    _look("read_bytes", lambda a: a.read_bytes("/dir/big")),
    _look("read_text", lambda a: a.read_text("/dir/small")),
    Row("listing", ("listdir", "walk", "glob"), _read_all, states=1),
    _look("scandir", lambda a: [(e.name, e.is_dir(), e.is_file(), e.stat()) for e in
                                a.scandir("/")]),
    _look("find", lambda a: list(a.find(Q.size > 100))),
    _look("find under", lambda a: list(a.find(Q.name.like("*i*"), under="/dir"))),
    _look("stat", lambda a: (a.stat("/link"), a.lstat("/link")), "stat", "lstat"),
    _look("stat_entry", lambda a: [e.stat() for e in a.scandir("/dir")]),
    _look("exists", lambda a: (a.exists("/dir/big"), a.exists("/no")), "exists"),
    _look("isfile", lambda a: (a.isfile("/way/big"), a.isfile("/way")), "isfile"),
    _look("isdir", lambda a: (a.isdir("/way"), a.isdir("/link")), "isdir"),
    _look("islink", lambda a: (a.islink("/way"), a.islink("/dir")), "islink"),
    _look("readlink", lambda a: a.readlink("/way")),
    _look("owners", lambda a: a.owners("/dir/big")),
    _look("getxattr", lambda a: a.getxattr("/dir/small", "user.kind")),
    _look("listxattr", lambda a: a.listxattr("/dir/small")),
    _look("info", lambda a: (a.info().title, a.name, a.mode, a.header, a.recovered), "info",
          "name", "mode", "header", "recovered"),
    _look("truediv", lambda a: (a / "dir" / "big").read_bytes(), "__truediv__"),
    _look("refresh writer", lambda a: a.refresh(), "refresh"),
    Row("refresh", ("refresh",), lambda a, _: a.refresh(), _newer, mode="r"),
    _look("reader read", lambda a: (a.read_bytes("/dir/big"), list(a.walk("/"))), "read_bytes",
          mode="r"),
    _look("reader check", lambda a: list(a.check()), "check", mode="r"),
    _look("reader close", lambda a: a.close(), "close", mode="r"),
]  # fmt: skip


# --- file objects


def _file(name: str, mode: str, run: Any, setup: Any = None, **options: Any) -> Row:
    """An operation on one open file; `setup` is done to it first."""
    path, buffering = options.pop("path", "/dir/big"), options.pop("buffering", -1)

    def prepare(archive: Archive) -> Any:
        file = archive.open(path, mode, buffering)
        if setup is not None:
            setup(file)
        return file

    covers = (name.split()[1],)
    return Row(f"{name} {mode}", covers, lambda _, file: run(file), prepare, **{
        "is_loose": True, "retries": True, "states": 2, **options})  # fmt: skip


def _write_and_flush(file: Any) -> None:
    file.seek(3990)
    file.write(noise(9000, 5) if "b" in file.mode else "x" * 9000)
    file.flush()


def _seek_behind(file: Any) -> None:
    file.seek(60_000)
    file.write(b"behind the end")
    file.flush()


def _readinto(file: Any) -> bytes:
    room = bytearray(20_000)
    size = file.readinto(room)
    return bytes(room[:size])


def _truncate(file: Any) -> None:
    file.truncate(4500)
    file.flush()


def _pending(file: Any) -> None:
    file.write(b"pending" if "b" in file.mode else "pending")


FILE_ROWS = [
    _file("file read", "rb", lambda f: (f.read(100), f.read()), states=1),
    _file("file read", "r", lambda f: (f.read(3), f.read()), path="/dir/small", states=1),
    _file("file readall", "rb", lambda f: f.readall(), buffering=0, states=1),
    _file("file readinto", "rb", _readinto, buffering=0, states=1),
    _file("file readinto", "r+b", _readinto, states=1),
    _file("file readline", "rb", lambda f: [f.readline(), f.readlines()], states=1),
    _file("file __iter__", "rb", list, states=1),
    _file("file write", "r+b", _write_and_flush),
    _file("file write", "r+", _write_and_flush),
    _file("file write", "wb", _write_and_flush),
    _file("file write", "xb", _write_and_flush, path="/made"),
    _file("file write", "ab", _write_and_flush),
    _file("file write raw", "r+b", _write_and_flush, buffering=0),
    _file("file writelines", "ab", lambda f: (f.writelines([b"a", b"b"]), f.flush())[1]),
    _file("file seek", "r+b", _seek_behind),
    _file("file truncate", "r+b", _truncate),
    _file("file truncate raw", "r+b", _truncate, buffering=0),
    _file("file flush", "r+b", lambda f: f.flush(), _pending),
    _file("file flush", "r+", lambda f: f.flush(), _pending),
    _file("file close", "r+b", lambda f: f.close(), _pending),
    _file("file close", "w", lambda f: f.close(), _pending),
    _file("file close raw", "r+b", lambda f: f.close(), _pending, buffering=0),
    _file("file close", "rb", lambda f: f.close(), states=1),
    _file("file __exit__", "r+b", lambda f: f.__exit__(None, None, None), _pending),
]


# --- paths


def _path(name: str, run: Any, **options: Any) -> Row:
    return Row(f"path {name}", (name.split()[0],), lambda a, _: run(ArchivePath(a)), **options)


def _walked(top: ArchivePath) -> list[Any]:
    return [(str(here), names, others) for here, names, others in top.walk()]


PATH_ROWS = [
    _path("write_bytes", lambda p: (p / "new").write_bytes(noise(5000))),
    _path("write_text", lambda p: (p / "new").write_text("text")),
    _path("open", lambda p: (p / "new").open("xb").close(), is_loose=True),
    _path("touch", lambda p: (p / "new").touch(0o600)),
    _path("touch again", lambda p: (p / "late").touch(), states=1),
    _path("mkdir", lambda p: (p / "new").mkdir()),
    _path("mkdir parents", lambda p: (p / "new" / "er").mkdir(parents=True)),
    _path("mkdir exist_ok", lambda p: (p / "dir").mkdir(exist_ok=True), states=1),
    _path("rmdir", lambda p: (p / "empty").rmdir()),
    _path("chmod", lambda p: (p / "late").chmod(0o600)),
    _path("rename", lambda p: str((p / "dir").rename("/moved"))),
    _path("replace", lambda p: str((p / "late").replace("/dir/small"))),
    _path("unlink", lambda p: (p / "late").unlink(missing_ok=True)),
    _path("symlink_to", lambda p: (p / "new").symlink_to("dir")),
    _path("hardlink_to", lambda p: (p / "new").hardlink_to("/late")),
    _path("read_bytes", lambda p: (p / "late").read_bytes(), states=1),
    _path("read_text", lambda p: (p / "dir" / "small").read_text(), states=1),
    _path("readlink", lambda p: str((p / "way").readlink()), states=1),
    _path("resolve", lambda p: str((p / "way" / "small").resolve()), states=1),
    _path("resolve strict", lambda p: str((p / "way" / "small").resolve(True)), states=1),
    _path("iterdir", lambda p: list(map(str, p.iterdir())), states=1),
    _path("glob", lambda p: list(map(str, p.glob("d*/*"))), states=1),
    _path("rglob", lambda p: list(map(str, p.rglob("*"))), states=1),
    _path("walk", _walked, states=1),
    _path("exists", lambda p: (p / "late").exists(), states=1),
    _path("is_file", lambda p: (p / "way" / "big").is_file(), states=1),
    _path("is_dir", lambda p: (p / "way").is_dir(), states=1),
    _path("is_symlink", lambda p: (p / "way").is_symlink(), states=1),
    _path("samefile", lambda p: (p / "twice").samefile("/tree/again"), states=1),
    _path("stat", lambda p: (p / "way").stat(), states=1),
    _path("lstat", lambda p: (p / "way").lstat(), states=1),
    _path("owner", lambda p: (p / "late").owner(), states=1),
    _path("group", lambda p: (p / "late").group(), states=1),
]
