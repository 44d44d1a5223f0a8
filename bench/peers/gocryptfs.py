"""gocryptfs: AES-256-GCM in 4 KiB blocks, a folder of encrypted files mounted with FUSE."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .base import Peer, Session
from .mounted import mounted, run, why_not_mountable
from .plain import FolderSession


class Gocryptfs(Peer):
    """A mounted folder, client and daemon on the same machine."""

    name = "gocryptfs"
    settings = "AES-256-GCM, FUSE; scrypt cost 2^10 (mounting is not timed); creates unsynced"
    is_encrypted = True

    def available(self) -> str | None:
        return why_not_mountable("gocryptfs")

    def version(self) -> str:
        return run(["gocryptfs", "-version"]).split(";")[0].strip()

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        secret, cipher = folder / "secret", folder / "cipher"
        secret.write_text(secrets.token_hex(16))
        cipher.mkdir()
        run(["gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", secret, cipher])
        options = ["-fg", "-q", "-nosyslog", "-passfile", str(secret), str(cipher)]
        with mounted(["gocryptfs", *options], folder / "mount") as point:
            yield FolderSession(point)
