"""securefs: AES-256-GCM, a folder of encrypted files mounted with FUSE."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .base import Peer, Session
from .mounted import mounted, run, why_not_mountable
from .plain import FolderSession


class Securefs(Peer):
    """A mounted folder in the default ("lite") format."""

    name = "securefs"
    settings = "AES-GCM, lite format, FUSE; key file, 1 round (mounting is not timed); unsynced"
    is_encrypted = True

    def available(self) -> str | None:
        return why_not_mountable("securefs")

    def version(self) -> str:
        if shutil.which("dpkg-query"):  # Debian's build does not know its own version
            return "securefs " + run(["dpkg-query", "-W", "-f", "${Version}", "securefs"])
        return run(["securefs", "version"]).splitlines()[0].strip()

    @contextmanager
    def open(self, folder: Path) -> Iterator[Session]:
        key, cipher = folder / "key", folder / "cipher"
        key.write_text(secrets.token_hex(32))
        cipher.mkdir()
        kdf = ["--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "-r", "1"]
        run(["securefs", "create", "--keyfile", key, *kdf, cipher])
        command = ["securefs", "mount", "--keyfile", str(key), str(cipher)]
        with mounted(command, folder / "mount") as point:
            yield FolderSession(point)
