"""Vectors: archive7 refuses each as it says, in that layer; the second reader refuses as well."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import archive7
from archive7 import errors
from archive7.errors import Archive7Error, BlockCorruptError, RecoveredWarning
from tests.conformance.looking import look
from tests.conformance.reader import REFUSED, Reader
from tests.conformance.test_golden import MANIFEST, bytes_of, secret_of, shown
from tests.vectors import make_format

FOLDER = make_format.FOLDER
CRYPTO = FOLDER.parent / "crypto"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
LAYERS = "block map root opening stream extent tree registry entry path trash".split()


@pytest.fixture(autouse=True)
def _need(request: pytest.FixtureRequest, need_secretbox: Callable[[], None]) -> None:
    if "secretbox" in request.node.name:
        need_secretbox()


@cache
def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    return found


def patched(fields: dict[str, Any]) -> bytes:
    """The bytes of the container."""
    data = bytearray(bytes_of(fields["base"])[: fields["cut"]]).ljust(fields["cut"], b"\0")
    for at, what in fields["patches"]:
        part = bytes(what) if isinstance(what, int) else base64.b85decode(what)
        data[at : at + len(part)] = part
    return bytes(data)


def released(fields: dict[str, Any]) -> dict[str, Any]:
    """What can be read: path -> item."""
    files: dict[str, Any] = MANIFEST[fields["base"]]["files"]
    lost = set(fields["lost"])
    return {} if "*" in lost else {path: item for path, item in files.items() if path not in lost}


@pytest.mark.parametrize("name", NAMES)
def test_archive7_refuses_as_the_vector_says(name: str) -> None:
    fields, data = vector(name), patched(vector(name))
    secret = secret_of(fields["base"])
    if fields["open"]:
        with pytest.raises(Archive7Error) as caught:
            archive7.open(io.BytesIO(data), **secret)
        assert type(caught.value) is getattr(errors, fields["open"])
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        archive = archive7.open(io.BytesIO(data), **secret)
    with archive:
        assert any(w.category is RecoveredWarning for w in told) == fields["recovered"]
        assert bool(archive.recovered) == fields["recovered"]
        found, refused = look(archive)
        assert refused == fields["refused"]
        assert found == released(fields)
        layers = {item.layer for item in archive.check() if item.severity != "note"}
        if fields["check"]:
            assert layers & set(fields["check"].split())
        else:
            assert not layers


@pytest.mark.parametrize("name", NAMES)
def test_a_writer_refuses_or_goes_on(name: str) -> None:
    """What is said comes out of opening for writing; the file is read as before."""
    fields, data = vector(name), patched(vector(name))
    file = io.BytesIO(data)
    if fields["write"] == "*":
        return
    if fields["write"]:
        with pytest.raises(Archive7Error) as caught:
            archive7.open(file, "r+", **secret_of(fields["base"]))
        assert type(caught.value) is getattr(errors, fields["write"])
        if fields["open"]:
            test_archive7_refuses_as_the_vector_says(name)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveredWarning)
        archive = archive7.open(file, "r+", **secret_of(fields["base"]))
    found, refused = look(archive)
    assert (found, refused) == (released(fields), fields["refused"])
    archive._container.close()


@pytest.mark.parametrize("name", NAMES)
def test_second_reader_refuses_or_releases_nothing_else(name: str) -> None:
    fields, data = vector(name), patched(vector(name))
    try:
        items = Reader(data, **secret_of(fields["base"])).files()
    except REFUSED:
        assert not fields["reader"]
        return
    found = {path: shown(item) for path, item in items.items()}
    wanted = released(fields)
    assert {path: item for path, item in found.items() if wanted.get(path) != item} == {}
    assert not fields["reader"] or found == wanted


@pytest.mark.parametrize("name", ["map_entry_far_behind_the_end", "map_leaf_behind_the_end"])
def test_a_writer_that_meets_a_slot_behind_the_end_refuses(name: str) -> None:
    fields = vector(name)
    archive = archive7.open(io.BytesIO(patched(fields)), "r+", **secret_of(fields["base"]))
    try:
        with pytest.raises(BlockCorruptError), archive.transaction():
            for path in fields["refused"]:
                with archive.open(path, "r+b") as file:
                    file.write(b"x" * 4008)
    finally:
        archive._container.close()


# --- the set


def test_there_are_vectors_of_each_layer() -> None:
    crypto = list(CRYPTO.glob("*.json"))
    assert len(NAMES) + len(crypto) >= 150
    assert len(NAMES) >= 100
    assert {name.split("_")[0] for name in NAMES} == set(LAYERS)
    assert {vector(name)["layer"] for name in NAMES} == set(LAYERS)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2 << 20


def test_each_vector_differs_from_its_container_and_from_the_others() -> None:
    whole = {patched(vector(name)) for name in NAMES}
    assert len(whole) == len(NAMES)
    assert not whole & {bytes_of(vector(name)["base"]) for name in NAMES}


def test_the_script_makes_these_very_vectors() -> None:
    assert sorted(make_format.FAULTS) == NAMES
    for name in NAMES:
        assert make_format.build(name) == vector(name), name


def test_the_folder_holds_nothing_else() -> None:
    assert {path.suffix for path in Path(FOLDER).iterdir()} == {".json"}
