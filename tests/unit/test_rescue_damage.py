"""Rescue against a model: whatever is overwritten, what is whole comes back and is told so."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import archive7
from tests.unit.specimen import KEY, Specimen, closed_specimen, killed_specimen

HARMS = [
    ("A",), ("B",), ("roots",), ("map",), ("registry",), ("paths",), ("1%",), ("2%",), ("cut",),
    ("roots", "map"), ("roots", "registry"), ("roots", "paths"), ("map", "registry"),
    ("map", "paths"), ("registry", "paths"), ("roots", "map", "registry", "paths"),
    ("roots", "1%"), ("map", "1%"), ("registry", "1%"), ("A", "roots", "2%"),
]  # fmt: skip
Make = Callable[[Path, str, random.Random], Specimen]


@pytest.fixture(scope="module", params=["xaes256gcm", "secretbox"])
def suite(request: pytest.FixtureRequest, need_secretbox: Callable[[], None]) -> str:
    if request.param == "secretbox":
        need_secretbox()
    return str(request.param)


@pytest.fixture(scope="module")
def closed(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return closed_specimen(tmp_path_factory.mktemp("closed"), suite, random.Random(5))


@pytest.fixture(scope="module")
def killed(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return killed_specimen(tmp_path_factory.mktemp("killed"), suite, random.Random(6))


class Outcome:
    """What a rescue gave, beside the model."""

    def __init__(self, specimen: Specimen, target: Path, bad: set[int]) -> None:
        before = specimen.path.read_bytes()
        self.specimen, self.target, self.bad = specimen, target, bad
        self.report = archive7.rescue(specimen.path, target, key=KEY)
        assert specimen.path.read_bytes() == before, "the source is only read"
        self.told: dict[str, list[archive7.Rescued]] = {}
        for file in self.report.files:
            self.told.setdefault(file.path, []).append(file)

    def check_honest(self) -> None:
        """What is called whole or deleted is so, byte for byte."""
        for file in self.report.files:
            if file.status in ("whole", "deleted"):
                of = self.specimen.files if file.status == "whole" else self.specimen.deleted
                if file.path.startswith("/lost+found/"):
                    # where its directory is lost, so is whether that had been deleted
                    known = self.specimen.files | self.specimen.deleted
                    contents = list(known.values())
                    assert (self.target / file.target).read_bytes() in contents, file
                    continue
                assert file.path in of, file
                assert (self.target / file.target).read_bytes() == of[file.path], file

    def sound(self) -> list[str]:
        """Paths of files without a damaged block."""
        slots = self.specimen.slots
        return [path for path in self.specimen.files if not slots[path] & self.bad]

    def has(self, path: str, *statuses: str) -> bool:
        """Whether the bytes of a file came back under its name, with one of these statuses."""
        return any(
            file.status in statuses
            and (self.target / file.target).read_bytes() == self.specimen.files[path]
            for file in self.told.get(path, ())
        )

    def has_bytes(self, path: str) -> bool:
        """Whether the bytes came back under any name."""
        size = len(self.specimen.files[path])
        return any(
            file.target
            and file.size == size
            and (self.target / file.target).read_bytes() == self.specimen.files[path]
            for file in self.report.files
        )


def rescued(
    specimen: Specimen, folder: Path, harm: tuple[str, ...], rng: random.Random
) -> Outcome:
    patient = specimen.copy(folder / "patient.ar7")
    bad = patient.harm(*harm, rng=rng)
    outcome = Outcome(patient, folder / "saved", bad)
    outcome.check_honest()
    return outcome


@pytest.mark.parametrize("harm", HARMS, ids="+".join)
def test_sound_files_of_a_closed_archive_come_back(
    closed: Specimen, tmp_path: Path, harm: tuple[str, ...], rng: random.Random
) -> None:
    outcome = rescued(closed, tmp_path, harm, rng)
    statuses = ["whole"]
    is_map_harmed = bool(outcome.bad & closed.parts["map"])
    if is_map_harmed or (closed.suite == "secretbox" and "roots" in harm):
        statuses.append("unproved")
    is_nameless = bool(outcome.bad & closed.parts["registry"]) and bool(
        outcome.bad & closed.parts["paths"]
    )
    is_guessed = closed.suite == "secretbox" and is_map_harmed
    for path in outcome.sound():
        if outcome.bad & closed.parts["paths"] and any(path in names for names in closed.names):
            found = outcome.has_bytes(path)  # further names stand in the paths tree alone
        elif is_nameless or is_guessed:
            found = outcome.has_bytes(path)
        else:
            found = outcome.has(path, *statuses)
        if not closed.files[path] and (
            len(outcome.bad) > len(closed.parts["registry"]) or "roots" in harm
        ):
            continue  # of an empty file there is no block: it may have lost all of them
        assert found, (path, len(closed.files[path]), outcome.told.get(path))


@pytest.mark.parametrize("harm", [(), *HARMS], ids="+".join)
def test_sound_files_of_a_killed_archive_come_back(
    killed: Specimen, tmp_path: Path, harm: tuple[str, ...], rng: random.Random
) -> None:
    outcome = rescued(killed, tmp_path, harm, rng)
    if {"roots", "map"} & set(harm):
        assert any(outcome.has_bytes(path) for path in outcome.sound())
        return
    for path in outcome.sound() if not outcome.bad & killed.parts["map"] else ():
        if not (outcome.bad & killed.parts["registry"] and outcome.bad & killed.parts["paths"]):
            assert outcome.has(path, "whole", "unproved"), (path, outcome.told.get(path))
