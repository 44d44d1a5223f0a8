"""Golden containers: archive7 and the second reader find in each what the manifest says."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import archive7
from archive7.creation import open_container
from archive7.device import MemoryDevice
from archive7.errors import RecoveredWarning
from archive7.keyslots import Secrets
from archive7.root import slot_offset
from archive7.streams import DynamicMultiStreamManager, SingleStreamManager
from tests.audit import audit_bytes, read_all
from tests.conformance.looking import look
from tests.conformance.reader import Item, Reader
from tests.unit.archives import errors_of
from tests.vectors import make_golden
from tests.vectors.make_golden import FOLDER, GOLDEN, Two, told

MANIFEST: dict[str, dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())
KINDS = {"single": SingleStreamManager, "fixed": Two, "dynamic": DynamicMultiStreamManager}
FILESYSTEMS = [name for name, fields in MANIFEST.items() if fields["kind"] == "filesystem"]
NAMES = sorted(MANIFEST)


@pytest.fixture(autouse=True)
def _need(request: pytest.FixtureRequest, need_secretbox: Callable[[], None]) -> None:
    if "secretbox" in request.node.name:
        need_secretbox()


def bytes_of(name: str) -> bytes:
    return (FOLDER / f"{name}.ar7").read_bytes()


def secret_of(name: str) -> dict[str, Any]:
    secret = MANIFEST[name]["secret"]
    return {"key": bytes.fromhex(secret["key"])} if "key" in secret else dict(secret)


def shown(item: Item) -> dict[str, Any]:
    """What the second reader found, as the manifest tells it."""
    kind, content, mode, user, group, times, target, xattrs = item
    return {
        "type": kind, "content": told(content), "mode": mode, "user": user, "group": group,
        "times": list(times), "target": target,
        "xattrs": {name: told(value) for name, value in xattrs.items()},
    }  # fmt: skip


# --- the second reader


def test_the_second_reader_is_one() -> None:
    """At most 400 lines, and nothing of archive7."""
    text = (Path(__file__).parent / "reader.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    imports = [line for line in text.splitlines() if line.lstrip().startswith(("import", "from"))]
    assert len(imports) > 5
    assert not [line for line in imports if "archive7" in line or "tests" in line]


@pytest.mark.parametrize("name", FILESYSTEMS)
def test_second_reader_finds_what_the_manifest_says(name: str) -> None:
    reader = Reader(bytes_of(name), **secret_of(name))
    found = {path: shown(item) for path, item in reader.files().items()}
    assert found == MANIFEST[name]["files"]
    deleted = {path.split("/", 1)[1]: shown(item) for path, item in reader.deleted().items()}
    assert {f"/{path}": item for path, item in deleted.items()} == MANIFEST[name]["deleted"]


@pytest.mark.parametrize("name", KINDS)
def test_second_reader_finds_the_streams(name: str) -> None:
    found = Reader(bytes_of(name), **secret_of(name)).streams()
    names = {
        key.hex() if isinstance(key, bytes) else str(key): data for key, data in found.items()
    }
    assert {key: told(data) for key, data in names.items()} == MANIFEST[name]["streams"]


# --- archive7


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("name", FILESYSTEMS)
def test_archive7_finds_what_the_manifest_says(name: str, mode: str) -> None:
    fields = MANIFEST[name]
    with archive7.open(io.BytesIO(bytes_of(name)), mode, **secret_of(name)) as archive:
        assert archive.recovered is None
        assert archive.info().suite == fields["suite"]
        assert look(archive) == (fields["files"], {})
        assert errors_of(archive, "full") == errors_of(archive, "quick") == []
        deleted = {item.path: item for item in archive.deleted()}
        assert set(deleted) == {path for path in fields["deleted"] if path.count("/") == 1}
        if mode == "r+":
            for path, item in deleted.items():
                if item.is_restorable:
                    archive.undelete(item)
                    if item.type == "file":
                        assert told(archive.read_bytes(path)) == fields["deleted"][path]["content"]
            assert errors_of(archive) == []


@pytest.mark.parametrize("name", KINDS)
def test_archive7_finds_the_streams(name: str) -> None:
    data, fields = bytes_of(name), MANIFEST[name]
    audit_bytes(data, KINDS[name])
    container = open_container(MemoryDevice(data), Secrets(**secret_of(name)), readonly=True)
    manager: Any = KINDS[name].over(container)
    for key, wanted in fields["streams"].items():
        is_dynamic = name == "dynamic"
        stream = manager.open_stream(UUID(key)) if is_dynamic else manager.special_stream(int(key))
        assert told(read_all(stream)) == wanted
    manager.close()


# --- the set


def test_each_golden_container_is_what_the_manifest_names() -> None:
    assert set(MANIFEST) == set(GOLDEN) == {path.stem for path in FOLDER.glob("*.ar7")}
    sizes = [len(bytes_of(name)) for name in NAMES]
    assert sum(sizes) < 5 << 20
    for name in NAMES:
        assert hashlib.sha256(bytes_of(name)).hexdigest() == MANIFEST[name]["sha256"], name


@pytest.mark.parametrize("name", ["small_xaes", "height_1_changes", "trash"])
def test_the_script_makes_these_very_bytes(name: str) -> None:
    """Until the format is frozen, they are what the writer of today writes."""
    data, fields = make_golden.build(name)
    assert fields == MANIFEST[name]
    assert data == bytes_of(name)


def test_the_set_has_each_kind_of_container() -> None:
    """So that no container drifts away from what it is there for."""
    readers = {
        name: Reader(bytes_of(name), **secret_of(name)) for name in NAMES if "box" not in name
    }
    roots = {name: reader.root for name, reader in readers.items()}
    assert (roots["height_0"].height, roots["height_0"].mark) == (0, 0)
    assert len(roots["height_0"].changes) > 5
    assert roots["small_xaes"].height == 1
    assert (roots["small_xaes"].mark, len(roots["small_xaes"].changes)) == (1, 0)
    assert (roots["height_1_changes"].height, roots["height_1_changes"].mark) == (1, 0)
    assert roots["height_1_changes"].changes
    assert roots["height_2"].height == 2
    assert (roots["folded_and_killed"].height, roots["folded_and_killed"].mark) == (1, 0)
    assert not roots["folded_and_killed"].changes
    assert {roots[name].kind for name in KINDS} == {1, 2, 3}
    registry = {name: readers[name].registry() for name in ("fragmented", "links", "deleted")}
    assert max(len(stream.runs) for stream, _ in registry["fragmented"].values()) > 2
    for number in (1, 2):
        tree = readers["many"].special(number)
        assert readers["many"].block(tree.begin, tree.id, None)[48:52] == b"BT\0\1"
    tree = readers["far_values"].special(1)
    assert {far for _, _, far in readers["far_values"].node(*tree[:2], -1, set())} == {True, False}
    flags = {}
    for name in ("blanking", "trash"):
        container = open_container(
            MemoryDevice(bytes_of(name)), Secrets(**secret_of(name)), readonly=True
        )
        flags[name] = container.root.flags & 255
        if name == "trash":
            assert len(bytes_of(name)) > slot_offset(container.root.slots + 1)
        container.close()
    assert flags == {"blanking": 1, "trash": 2}


def test_golden_containers_that_were_killed_open_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecoveredWarning)
        for name in ("height_0", "height_1_changes", "folded_and_killed"):
            archive7.open(io.BytesIO(bytes_of(name)), **secret_of(name)).close()
