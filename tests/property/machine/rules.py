"""Rules: names, attributes and deletions: every call that has no file open."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.property.machine.calls import ASKING
from tests.property.machine.sides import Sides, pattern
from tests.property.machine.spots import (
    Known,
    expand,
    forms,
    new_spots,
    old_spots,
    spots,
)

Spot = Known | str

SIZES: Final = [0, 0, 1, 5, 100, 4007, 4008, 4009, 8016, 9000, 30_000, 70_000]
MODES: Final = [0o755, 0o600, 0, 0o777, 0o4711, 0o1777, 0o100640]
TIMES: Final = [None, 0, 1, -1, -5_000_000_001, 10**18 + 123_456_789, 999_999_999]
ATTRIBUTES: Final = ["user.a", "user.b", "user.é", "user." + "n" * 250, "user." + "n" * 251]
VALUES: Final = [0, 1, 100, 1200, 4000, 20_000, 70_000]
HOWS: Final = ["ERASE", "ERASE", "SOFT", "HARD"]
flips = st.booleans()
salts = st.integers(0, 9)


class NameRules(Sides):
    """Names are made, moved and taken away."""

    @initialize(count=st.sampled_from([0, 0, 1, 2, 5]))
    def begin_with(self, count: int) -> None:
        """Something is there already."""
        for number, name in enumerate("abcab"[:count]):
            if number % 2:
                self.change("mkdir", f"{'' if number < 3 else 'b/'}{name}", 0o755)
            else:
                self.change("write_bytes", name, pattern(100, number))

    @rule(path=new_spots, mode=st.sampled_from([0o755, 0o700, 0, 0o1755, 0o2755, 0o4755]))
    def mkdir(self, path: Spot, mode: int) -> None:
        self.change("mkdir", self.path(path), mode)

    @rule(path=new_spots, exist_ok=flips)
    def makedirs(self, path: Spot, exist_ok: bool) -> None:
        text = self.path(path)
        if len(text) > 1000:
            return  # os.makedirs calls itself for each part
        self.change("makedirs", text, 0o755, exist_ok)
        self.committed()  # what was there before, even if it fails

    @rule(source=old_spots, goal=spots, name=st.sampled_from(["rename", "replace"]))
    def rename(self, source: Spot, goal: Spot, name: str) -> None:
        self.change(name, self.path(source), self.path(goal))

    @rule(source=old_spots, goal=new_spots)
    def link(self, source: Spot, goal: Spot) -> None:
        self.change("link", self.path(source), self.path(goal))

    @rule(goal=spots, path=new_spots)
    def symlink(self, goal: Spot, path: Spot) -> None:
        self.change("symlink", self.path(goal), self.path(path))

    @rule(goal=st.sampled_from(["l", "../l", "/l", "./l/", "l/a", ".", "Z"]), path=forms)
    def loop(self, goal: str, path: str) -> None:
        """Links to themselves, through themselves, and long ones."""
        self.change("symlink", expand(goal), path.format("l"))

    @rule(source=old_spots, goal=spots, follow=flips)
    def copy(self, source: Spot, goal: Spot, follow: bool) -> None:
        self.change("copy", self.path(source), self.path(goal), follow)

    @rule(path=old_spots, kind=st.sampled_from(["remove", "rmdir"]))
    def remove(self, path: Spot, kind: str) -> None:
        self.change("delete", self.path(path), kind, "ERASE")

    @rule(
        path=spots, kind=st.sampled_from(["remove", "rmdir", "rmtree"]), how=st.sampled_from(HOWS)
    )
    def delete(self, path: Spot, kind: str, how: str) -> None:
        self.change("delete", self.path(path), kind, how)

    @rule(count=st.sampled_from([3, 12, 40]), size=st.sampled_from([0, 10, 5000]), salt=salts)
    def crowd(self, count: int, size: int, salt: int) -> None:
        """So many long names that trees get a level more."""
        if len(self.path(Known(0, "{}"))) and len(self._paths or ()) < 90:
            for number in range(count):
                name = f"{salt}{number:02}{'pqr'[salt % 3] * 250}"
                self.change("write_bytes", name, pattern(size, number))

    @rule(salt=salts, step=st.sampled_from([1, 2, 3]))
    def thin(self, salt: int, step: int) -> None:
        """Some of them go."""
        for number in range(0, 40, step):
            path = f"{salt}{number:02}{'pqr'[salt % 3] * 250}"
            if self.ours.exists(path):
                self.change("delete", path, "remove", "ERASE")


class DeletionRules(Sides):
    """What was deleted comes back, or goes for good."""

    def item(self, number: int, is_path: bool) -> int | str | None:
        found = self.both("deleted")[1]
        if not found:
            return "/a" if is_path else None
        return found[number % len(found)][0] if is_path else number % len(found)

    @rule(number=st.integers(0, 9), is_path=flips)
    def undelete(self, number: int, is_path: bool) -> None:
        item = self.item(number, is_path)
        if item is not None:
            self.change("undelete", item, None)

    @rule(number=st.integers(0, 9), is_path=flips, path=new_spots)
    def undelete_elsewhere(self, number: int, is_path: bool, path: Spot) -> None:
        item = self.item(number, is_path)
        if item is not None:
            self.change("undelete", item, self.path(path))

    @rule(number=st.integers(0, 9), is_path=flips)
    def purge(self, number: int, is_path: bool) -> None:
        item = self.item(number, is_path)
        if item is not None:
            self.change("purge", item)

    @precondition(lambda self: not self.transactions)
    @rule()
    def purge_all(self) -> None:
        self.change("purge", None)


class AttributeRules(Sides):
    """Attributes are set and asked."""

    @rule(path=old_spots, mode=st.sampled_from(MODES))
    def chmod(self, path: Spot, mode: int) -> None:
        self.change("chmod", self.path(path), mode)

    @rule(path=old_spots, modified_ns=st.sampled_from(TIMES), follow=flips)
    def utime(self, path: Spot, modified_ns: int | None, follow: bool) -> None:
        self.change("utime", self.path(path), modified_ns, follow)

    @rule(
        path=old_spots,
        name=st.sampled_from(ATTRIBUTES),
        size=st.sampled_from(VALUES),
        flags=st.sampled_from([0, 0, 0, 1, 2]),
        follow=flips,
    )
    def setxattr(self, path: Spot, name: str, size: int, flags: int, follow: bool) -> None:
        text = self.path(path)
        if follow or not self.ours.islink(text):  # see DIFFERENCES
            self.change("setxattr", text, name, pattern(size, 1), flags, follow)

    @rule(path=old_spots, name=st.sampled_from(ATTRIBUTES), follow=flips)
    def removexattr(self, path: Spot, name: str, follow: bool) -> None:
        text = self.path(path)
        if follow or not self.ours.islink(text):
            self.change("removexattr", text, name, follow)

    @rule(path=old_spots, name=st.sampled_from(ATTRIBUTES))
    def getxattr(self, path: Spot, name: str) -> None:
        self.both("getxattr", self.path(path), name, True)
        self.both("listxattr", self.path(path), True)

    @rule(path=spots, name=st.sampled_from(ASKING))
    def ask(self, path: Spot, name: str) -> None:
        self.both(name, self.path(path))

    @rule(path=old_spots, name=st.sampled_from(ASKING))
    def ask_what_is_there(self, path: Spot, name: str) -> None:
        self.both(name, self.path(path))

    @rule(path=old_spots, topdown=flips, follow=flips)
    def walk(self, path: Spot, topdown: bool, follow: bool) -> None:
        if topdown or not follow:  # where it was cut off shows in a walk from the top only
            self.both("walk", self.path(path), topdown, follow)

    @rule(path=old_spots, length=st.sampled_from([*SIZES, -1]))
    def truncate(self, path: Spot, length: int) -> None:
        self.change("truncate", self.path(path), length)

    @rule(path=new_spots, size=st.sampled_from(SIZES), salt=salts)
    def write_bytes(self, path: Spot, size: int, salt: int) -> None:
        self.change("write_bytes", self.path(path), pattern(size, salt))
