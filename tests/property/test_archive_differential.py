"""`Archive.open` beside builtin `open`: the same random calls, the same results and exceptions.

Several handles stand on one file, in all modes, text and binary, buffered or not; the archive is
reopened now and then, which must change nothing.  On purpose the host's text files are opened
with UTF-8 and newline ``\\n``, which are the archive's defaults on every system.
"""

from __future__ import annotations

import io
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive7 import Archive
from tests.unit.archives import Vaults, tree_of

MODES = [k + b + p for k in "rwxa" for b in ("", "b") for p in ("", "+")]
NAMES = ("a", "b", "c")
SIZES = (0, 1, 5, 100, 4007, 4008, 4009, 8016, 9000, 30_000)
WORDS = ("", "a", "line\n", "zwölf\n", "x\r\ny\rz\n", "日本語", "word " * 900, "row\n" * 3000)
Outcome = tuple[object, ...]


def outcome(call: Callable[[], object]) -> Outcome:
    """What a call gives, or the class of exception with its errno and name."""
    try:
        return ("value", call())
    except OSError as error:
        if isinstance(error, io.UnsupportedOperation):
            return ("UnsupportedOperation",)
        name = next(k for k in type(error).__mro__ if k.__module__ == "builtins").__name__
        where = error.filename and os.path.basename(error.filename)
        return (name, error.errno, where)
    except (ValueError, TypeError) as error:
        kinds = (UnicodeError, ValueError, TypeError)
        return (next(k.__name__ for k in kinds if isinstance(error, k)),)


class Sides:
    """The host's folder and the archive, driven alike."""

    def __init__(self, vaults: Vaults, home: Path, rng: random.Random) -> None:
        self.vaults = vaults
        self.home = home
        self.rng = rng
        self.archive: Archive = vaults.open("x")
        self.handles: list[tuple[Any, Any, str, int]] = []
        self.log: list[str] = []

    def both(self, what: str, here: Callable[[], object], there: Callable[[], object]) -> None:
        self.log.append(what)
        ours, theirs = outcome(here), outcome(there)
        assert ours == theirs, "\n".join([*self.log[-20:], f"archive {ours!r:.300}",
                                          f"builtin {theirs!r:.300}"])  # fmt: skip

    # --- opening

    def open(self) -> None:
        name, mode = self.rng.choice(NAMES), self.rng.choice(MODES)
        buffering = self.rng.choice((-1, -1, 0, 1, 7, 4096, 100_000))
        if buffering == ("b" in mode):
            buffering = -1  # 1 in binary: builtin warns; 0 in text: it cuts the file, then raises
        if buffering == -1 and ("r" in mode or "+" in mode):
            buffering = 4096  # what another handle wrote meanwhile shows at the size's next fill
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        if text and self.rng.random() < 0.3:
            text["newline"] = self.rng.choice(("", "\r", "\r\n"))  # None means "\n" here
        files: list[Any] = []

        def run(opener: Any, path: str, options: dict[str, str]) -> Outcome:
            file = opener(path, mode, buffering, **options)
            files.append(file)
            told = file.mode if "b" in mode else file.mode.replace("t", "")
            return (
                file.readable(), file.writable(), file.seekable(), file.tell(), told,
                type(file).__mro__[-4:], os.path.basename(file.name), file.closed,
            )  # fmt: skip

        self.both(
            f"open({name!r}, {mode!r}, {buffering}, {text})",
            lambda: run(self.archive.open, f"/{name}", text)[:5],
            lambda: run(open, str(self.home / name), text)[:5],
        )
        if files:
            self.handles.append((files[0], files[1], mode, buffering))

    def close_one(self) -> None:
        if self.handles:
            at = self.rng.randrange(len(self.handles))
            ours, theirs, mode, _ = self.handles.pop(at)
            self.both(f"close #{at} {mode}", ours.close, theirs.close)
            self.both("closed", lambda: ours.closed, lambda: theirs.closed)
            self.both("read closed", ours.read, theirs.read)

    def close_all(self) -> None:
        while self.handles:
            self.close_one()

    def reopen(self) -> None:
        self.close_all()
        self.archive.close()
        self.archive = self.vaults.open(self.rng.choice(("r+", "a")))
        self.log.append("reopen")

    # --- one handle

    def use(self) -> None:
        if not self.handles:
            return
        at = self.rng.randrange(len(self.handles))
        ours, theirs, mode, buffering = self.handles[at]
        what, call = self.rng.choice(BINARY if "b" in mode else TEXT)(self.rng)
        if buffering == 0 and what == "write('text',)":
            return  # of two mistakes the host names the other one
        label = f"#{at} {mode} {buffering}: {what}"
        self.both(label, lambda: call(ours), lambda: call(theirs))
        # A text file's tell is opaque, and after writes of text costs a decode; bytes tell all.
        if "+" in mode or "r" not in mode:
            self.both(f"#{at} flush", ours.flush, theirs.flush)
        if "b" in mode:
            self.both(f"#{at} tell", ours.tell, theirs.tell)

    def compare(self) -> None:
        for file, other, *_ in self.handles:
            if file.writable():
                self.both("flush", file.flush, other.flush)
        names = sorted(os.listdir(self.home))
        assert self.archive.listdir("/") == names
        for name in names:
            self.both(
                f"content of {name}",
                lambda name=name: self.archive.read_bytes(name),
                (self.home / name).read_bytes,
            )


def _method(name: str, *arguments: object) -> tuple[str, Callable[[Any], object]]:
    def call(file: Any) -> object:
        method = getattr(file, name, None)
        return "no method" if method is None else method(*arguments)

    return f"{name}{arguments!r:.30}", call


def _into(size: int) -> tuple[str, Callable[[Any], object]]:
    def call(file: Any) -> object:
        buffer = bytearray(size)
        return file.readinto(buffer), bytes(buffer)

    return f"readinto({size})", call


Action = Callable[[random.Random], tuple[str, Callable[[Any], object]]]
BINARY: list[Action] = [
    lambda r: _method("read", r.choice((-1, *SIZES))),
    lambda r: _method("read"),
    lambda r: _into(r.choice(SIZES)),
    lambda r: _method("readline"),
    lambda r: _method("readlines", 100),
    lambda r: _method("write", r.randbytes(r.choice(SIZES))),
    lambda r: _method("write", r.randbytes(r.choice(SIZES))),
    lambda r: _method("writelines", [r.randbytes(5), b"\n", r.randbytes(4100)]),
    lambda r: _method("seek", r.choice(SIZES) * r.choice((1, 1, 4))),
    lambda r: _method("seek", r.choice((-9000, -1, 0, 1, 5000)), 1),
    lambda r: _method("seek", r.choice((-30_000, -4008, -1, 0, 7)), 2),
    lambda r: _method("seek", r.choice((-1, 0)), r.choice((0, 9, -1))),
    lambda r: _method("truncate"),
    lambda r: _method("truncate", r.choice((-1, *SIZES, 50_000))),
    lambda r: _method("write", "text"),
    lambda r: ("__next__", lambda file: next(file, b"end")),
]
TEXT: list[Action] = [
    lambda r: _method("read", r.choice((-1, 0, 1, 3, 5000))),
    lambda r: _method("readline"),
    lambda r: _method("readlines"),
    lambda r: _method("write", r.choice(WORDS)),
    lambda r: _method("write", r.choice(WORDS)),
    lambda r: _method("writelines", ["a\n", r.choice(WORDS)]),
    lambda r: _method("seek", 0),
    lambda r: _method("seek", 0, 2),
    lambda r: _method("seek", 1, 1),
    lambda r: _method("truncate", r.choice((0, 3, 4008, 20_000))),
    lambda r: _method("write", b"bytes"),
    lambda r: _method("tell"),
    lambda r: ("newlines", lambda file: (file.newlines, file.encoding, file.line_buffering)),
]


@pytest.mark.parametrize("part", range(4))
def test_files_behave_as_those_of_open(tmp_path: Path, seed: int, part: int) -> None:
    """About 300 calls a history; every result and every byte is compared."""
    for history in range(8):
        rng = random.Random(f"{seed} {part} {history}")
        home = tmp_path / f"host{history}"
        home.mkdir()
        with Vaults(home.parent / f"vault{history}") as vaults:
            vaults.folder.mkdir()
            sides = Sides(vaults, home, rng)
            try:
                for _ in range(300):
                    action = rng.choices(
                        (sides.open, sides.use, sides.close_one, sides.compare, sides.reopen),
                        (4, 30, 3, 2, 1),
                    )[0]
                    action()
                sides.close_all()
                sides.compare()
            finally:
                for ours, theirs, *_ in sides.handles:
                    ours.close()
                    theirs.close()


def test_every_mode_on_every_state(tmp_path: Path) -> None:
    """All modes and buffers on a missing, an empty and a full file, reading, then writing."""
    full = b"first\nsecond line\n" * 300
    with Vaults(tmp_path) as vaults:
        archive = vaults.open("x")
        cases = itertools.product(MODES, (-1, 0, 1, 512), (None, b"", full))
        for mode, buffering, content in cases:
            if buffering == ("b" in mode):
                continue  # see `Sides.open`
            text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
            host = tmp_path / "f"
            host.unlink(missing_ok=True)
            if archive.exists("f"):
                archive.remove("f")
            if content is not None:
                host.write_bytes(content)
                archive.write_bytes("f", content)

            def drive(file: Any, mode: str = mode) -> list[Outcome]:
                data = b"NEW" if "b" in mode else "NEW"
                with file:
                    return [
                        outcome(call)
                        for call in (
                            file.tell, lambda: file.read(8), lambda: file.write(data),
                            lambda: file.seek(20), lambda: file.write(data), file.flush,
                            lambda: file.seek(0, 2), lambda: file.truncate(9000),
                            lambda: file.read(3), lambda: file.seek(0), lambda: file.readline(),
                        )
                    ]  # fmt: skip

            ours = outcome(lambda m=mode, b=buffering: drive(archive.open("f", m, b)))
            theirs = outcome(lambda m=mode, b=buffering, t=text, h=host: drive(open(h, m, b, **t)))
            assert ours == theirs, (mode, buffering, content)
            kept = host.read_bytes() if host.exists() else None
            found = tree_of(archive).get("f", (0, None, 0))[1]
            assert found == kept, (mode, buffering, content)


@pytest.mark.parametrize(
    "arguments",
    [
        ("f", "rw"), ("f", ""), ("f", "q"), ("f", "rr"), ("f", "r++"), ("f", "+"), ("f", "bt"),
        ("f", "rbt"), ("f", "U"), ("f", "wa"), ("f", "r", 0), ("f", "rb", -1, "utf-8"),
        ("f", "rb", -1, None, "strict"), ("f", "rb", -1, None, None, "\n"), ("f", "r", -1, "nope"),
        ("f", "r", -1, None, None, "x"), ("f", 5), ("f", "rb", -5), ("f", "r", -1, None, "nope"),
    ],
)  # fmt: skip
def test_wrong_arguments_raise_what_open_raises(tmp_path: Path, arguments: Any) -> None:
    (tmp_path / "f").write_bytes(b"text")
    with Vaults(tmp_path) as vaults:
        archive = vaults.open("x")
        archive.write_bytes("f", b"text")

        def told(opener: Any, path: str) -> Outcome:
            try:
                with opener(path, *arguments[1:]):
                    return ("value",)
            except (ValueError, TypeError, LookupError) as error:
                kinds = (ValueError, TypeError, LookupError)
                name = next(k.__name__ for k in kinds if isinstance(error, k))
                return (name, str(error).lower().partition(" and at most")[0])

        assert told(archive.open, "f") == told(open, str(tmp_path / "f"))
