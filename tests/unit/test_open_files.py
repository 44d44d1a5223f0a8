"""Open files: several handles, removal while open, what close and garbage collection do."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive7 import Archive
from archive7.errors import ClosedError, CorruptError
from archive7.layout import BLOCK_SIZE, SLOTS_OFFSET
from archive7.map import entry_slot
from archive7.streams import VirtualFileObject
from tests.unit.archives import Vaults, assert_sound, noise, open_archive


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Vaults]:
    with Vaults(tmp_path) as found:
        yield found


@pytest.fixture
def archive(vaults: Vaults) -> Archive:
    archive = vaults.open("x")
    archive.write_bytes("/f", b"0123456789")
    return archive


def test_files_left_open_are_flushed_closed_and_warned_about(vaults: Vaults) -> None:
    archive = vaults.open("x")
    text = archive.open("/text", "w")
    text.write("buffered")
    binary = archive.open("/binary", "wb")
    binary.write(b"buffered, too")
    raw = archive.open("/raw", "wb", 0)
    raw.write(b"raw")
    archive.open("/closed", "w").close()
    with pytest.warns(ResourceWarning) as caught:
        archive.close()
    assert [str(w.message) for w in caught] == [
        "unclosed file '/text'", "unclosed file '/binary'", "unclosed file '/raw'"
    ]  # fmt: skip
    assert [file.closed for file in (text, binary, raw)] == [True] * 3
    with vaults.open("r") as reader:
        assert reader.read_bytes("/text") == b"buffered"
        assert reader.read_bytes("/binary") == b"buffered, too"
        assert reader.read_bytes("/raw") == b"raw"


def test_leaving_with_closes_files_as_close_does(vaults: Vaults) -> None:
    archive = vaults.open("x").__enter__()
    file = archive.open("/f", "w")
    file.write("kept")
    with pytest.warns(ResourceWarning):
        archive.__exit__(None, None, None)
    assert file.closed
    with vaults.open("r") as reader:
        left = reader.open("/f")
        assert left.read(2) == "ke"
        with pytest.warns(ResourceWarning):
            reader.close()
        with pytest.raises(ValueError):
            left.read()


def test_the_first_error_of_close_is_raised_after_all_was_tried(
    vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = vaults.open("x")
    first, second = archive.open("/first", "wb"), archive.open("/second", "wb")
    first.write(b"lost"), second.write(b"kept")
    broken = first.raw
    with monkeypatch.context() as patch:
        real = VirtualFileObject.write

        def write(self: VirtualFileObject, data: bytes) -> int:
            if self is broken:
                raise OSError(5, "the first error")
            return real(self, data)

        patch.setattr(VirtualFileObject, "write", write)
        with pytest.warns(ResourceWarning), pytest.raises(OSError, match="the first error"):
            archive.close()
    assert archive.closed
    with vaults.open("r+") as again:  # the lock was given back
        assert again.read_bytes("/second") == b"kept"


def test_a_collected_file_is_flushed_with_a_warning(archive: Archive) -> None:
    files = [archive.open("/lost", "wb")]
    files[0].write(b"in the buffer")
    with pytest.warns(ResourceWarning):
        files.clear()
    gc.collect()
    assert archive.read_bytes("/lost") == b"in the buffer"


def test_a_file_that_nobody_holds_does_not_stay_in_memory(archive: Archive) -> None:
    for _ in range(300):
        with archive.open("/f") as file:
            file.read()
    assert len(archive._files) < 140


def test_many_handles_on_one_file_see_what_was_flushed(archive: Archive) -> None:
    writers = [archive.open("/f", "r+b") for _ in range(3)]
    reader = archive.open("/f", "rb", 0)
    for number, writer in enumerate(writers):
        writer.seek(number * 3)
        writer.write(b"abc"[number : number + 1] * 2)
        before = archive.read_bytes("/f")
        writer.flush()
        assert archive.read_bytes("/f") != before
    assert reader.read() == b"aa2bb5cc89"
    writers[0].truncate(4)
    assert reader.seek(0, 2) == 4
    appender = archive.open("/f", "ab", 0)
    writers[1].seek(0, 2)
    writers[1].write(b"end")
    writers[1].flush()
    appender.write(b"!")
    reader.seek(0)
    assert reader.read() == b"aa2bend!"
    for file in (*writers, reader, appender):
        file.close()


def test_what_is_not_flushed_is_not_committed_and_what_is_flushed_is(
    vaults: Vaults, archive: Archive
) -> None:
    file = archive.open("/new", "wb")
    file.write(b"x" * 100)
    with open_archive(vaults.path()) as reader:
        assert not reader.refresh()
        assert not reader.exists("/new")
        file.flush()
        assert reader.refresh()
        assert reader.read_bytes("/new") == b"x" * 100
        file.write(b"y")
        file.close()
        assert reader.refresh()
        assert reader.read_bytes("/new") == b"x" * 100 + b"y"


@pytest.mark.parametrize("way", ["remove", "replace"])
def test_a_removed_file_lives_on_until_it_is_closed(vaults: Vaults, way: str) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/f", noise(100_000))
    archive.write_bytes("/other", b"other")
    files = [archive.open("/f", "r+b") for _ in range(2)]
    if way == "remove":
        archive.remove("/f")
        assert not archive.exists("/f")
        archive.write_bytes("/f", b"another file")
    else:
        archive.replace("/other", "/f")
    assert_sound(archive)
    files[0].seek(50_000)
    files[0].write(b"still there")
    files[0].flush()
    assert files[1].read()[50_000:50_011] == b"still there"
    files[0].close()
    assert_sound(archive)
    files[1].seek(0)
    assert files[1].read(10) == noise(100_000)[:10]
    used = archive.info().used
    files[1].close()
    assert archive.info().used < used - 90_000
    assert archive.read_bytes("/f") in (b"another file", b"other")


def test_a_file_removed_while_open_goes_when_its_writer_dies(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/f", noise(400_000))
    file = archive.open("/f")
    archive.remove("/f")
    archive.sync()
    data = vaults.path().read_bytes()
    file.close()
    vaults.path("dead.ar7").write_bytes(data)
    with vaults.open("r", "dead.ar7") as reader:
        assert_sound(reader)
        used = reader.info().used
    with vaults.open("r+", "dead.ar7") as writer:
        assert writer.listdir("/") == []
        assert_sound(writer)
        writer.commit()
        assert writer.info().used < used - 390_000


def test_a_file_renamed_while_open_goes_on(archive: Archive) -> None:
    archive.mkdir("/d")
    with archive.open("/f", "r+b") as file:
        archive.rename("/f", "/d/g")
        file.write(b"NEW")
    assert archive.read_bytes("/d/g") == b"NEW3456789"


def test_write_bytes_and_truncate_act_on_open_files(archive: Archive) -> None:
    with archive.open("/f", "r+b", 0) as file:
        archive.write_bytes("/f", b"replaced")
        assert file.read() == b"replaced"
        archive.truncate("/f", 3)
        assert file.seek(0, 2) == 3
        assert archive.stat("/f").st_size == 3
        file.write(b"!!")
        assert archive.stat("/f").st_size == 5
    assert archive.read_bytes("/f") == b"rep!!"


def test_times_follow_what_is_written(archive: Archive) -> None:
    archive.utime("/f", ns=(10, 20))
    assert archive.stat("/f").st_mtime_ns == 20
    with archive.open("/f", "rb") as file:
        file.read()
    assert archive.stat("/f").st_mtime_ns == 20
    with archive.open("/f", "ab") as file:
        file.write(b"x")
        file.flush()
        written = archive.stat("/f").st_mtime_ns
        assert written > 10**18
        archive.utime("/f", ns=(30, 30))
        assert archive.stat("/f").st_mtime_ns == 30
    assert archive.stat("/f").st_mtime_ns == 30


def test_file_objects_have_no_descriptor_and_no_copies(archive: Archive) -> None:
    with archive.open("/f", "rb", 0) as file:
        assert isinstance(file, io.RawIOBase)
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
        for call in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                call(file)
        assert file.name == "/f"
        assert not file.isatty()


def test_text_is_utf8_and_keeps_its_newlines_on_every_host(archive: Archive) -> None:
    with archive.open("/t", "w") as file:
        file.write("zwölf\r\na\nb\r")
        assert file.encoding.lower() == "utf-8"
    assert archive.read_bytes("/t") == "zwölf\r\na\nb\r".encode()
    with archive.open("/t", newline="") as file:
        assert file.readlines() == ["zwölf\r\n", "a\n", "b\r"]
    with archive.open("/t", "w", encoding="latin-1", newline="\r\n") as file:
        file.write("ü\n")
    assert archive.read_bytes("/t") == b"\xfc\r\n"


def test_reading_damage_raises_again_and_does_not_move_on(vaults: Vaults) -> None:
    with vaults.open("x") as archive:
        archive.write_bytes("/f", noise(400_000))
        where = [archive._container.blocks.map.get(p) for p in (40, 41)]
    vaults.damaged.add(vaults.path())
    data = bytearray(vaults.path().read_bytes())
    for entry in where:
        data[SLOTS_OFFSET + entry_slot(entry) * BLOCK_SIZE - 100] ^= 1
    vaults.path().write_bytes(data)
    with open_archive(vaults.path()) as archive, archive.open("/f", "rb", 0) as file:
        read = 0
        with pytest.raises(CorruptError):
            while chunk := file.read(4000):
                assert chunk == noise(400_000)[read : read + len(chunk)]
                read += len(chunk)
        assert file.tell() == read
        for _ in range(3):
            with pytest.raises(CorruptError):
                file.read(4000)
            assert file.tell() == read


def test_use_after_the_archive_is_closed(vaults: Vaults) -> None:
    archive = vaults.open("x")
    file = archive.open("/f", "wb", 0)
    with pytest.warns(ResourceWarning):
        archive.close()
    for call in (lambda: file.write(b"x"), file.tell, lambda: file.seek(0), file.flush):
        with pytest.raises(ValueError):
            call()
    file.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_dead_copy(vaults: Vaults) -> None:
    archive = vaults.open("x")
    archive.write_bytes("/f", b"parent")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            archive.write_bytes("/f", b"child")
        except ClosedError:
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not run the tests
            os._exit(2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    archive.write_bytes("/g", b"the lock stands")
    assert archive.read_bytes("/f") == b"parent"
