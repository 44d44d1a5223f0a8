"""Describe the machine, the versions and the disk that a benchmark ran on."""

import os
import platform
import sqlite3
import time
from pathlib import Path

from peers.base import installed

LIBRARIES = ("archive7", "cryptography", "xxhash")
CIPHER_FLAGS = ("aes", "vaes", "vpclmulqdq", "sha_ni", "avx2", "avx512f")
SYNC_COUNT = 16


def describe(folder: Path) -> dict[str, str]:
    """Return what a reader of the figures must know, in the order to print it."""
    return {
        "machine": f"{_cpu_name()}, {os.cpu_count()} cores, {_memory()}",
        "CPU flags": " ".join(flag for flag in CIPHER_FLAGS if flag in _cpu_flags()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": ", ".join(
            [*map(installed, LIBRARIES), f"SQLite {sqlite3.sqlite_version}", _openssl()]
        ),
        "filesystem": _filesystem(folder),
        "one fsync": f"{_sync_seconds(folder) * 1e6:.0f} us after a write of 4 KiB",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def _cpu_name() -> str:
    names = (line.partition(":")[2].strip() for line in _cpu_lines() if "model name" in line)
    return next(names, platform.processor() or platform.machine())


def _cpu_flags() -> frozenset[str]:
    flags = (line.partition(":")[2].split() for line in _cpu_lines() if line.startswith("flags"))
    return frozenset(next(flags, []))


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "memory unknown"
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GiB"


def _openssl() -> str:
    try:
        from cryptography.hazmat.backends.openssl.backend import backend
    except ImportError:
        return "no cryptography"
    return backend.openssl_version_text()


def _filesystem(folder: Path) -> str:
    """Return type and options of the mount that holds the folder."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = folder.resolve()
    holding = [mount for mount in mounts if resolved.is_relative_to(mount[1])]
    best = max(holding, key=lambda mount: len(mount[1]), default=None)
    return f"{best[2]} on {best[1]} ({best[3]})" if best else "unknown"


def _sync_seconds(folder: Path) -> float:
    """Return the mean time of a small write and its fsync."""
    path = folder / "sync-probe"
    with path.open("wb", buffering=0) as file:
        begin = time.perf_counter()
        for _ in range(SYNC_COUNT):
            file.write(bytes(4096))
            os.fsync(file.fileno())
        seconds = time.perf_counter() - begin
    path.unlink()
    return seconds / SYNC_COUNT
