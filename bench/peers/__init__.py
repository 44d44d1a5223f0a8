"""The peers: one module each, all with the interface of :mod:`peers.base`."""

from .archive7_vault import Archive7
from .bare import Bare
from .base import Peer
from .bplustree_map import Bplustree, BplustreeUnsynced
from .gocryptfs import Gocryptfs
from .plain import Plain
from .securefs import Securefs
from .sqlcipher import Sqlcipher, SqlcipherTuned
from .sqlite_map import Sqlite
from .zip_aes import ZipAes


def all_peers() -> list[Peer]:
    """Return one of each peer, in the order of the printed tables; Archive7 comes last."""
    return [
        Plain(),
        Gocryptfs(),
        Securefs(),
        Sqlcipher(),
        SqlcipherTuned(),
        ZipAes(),
        Sqlite(),
        Bplustree(),
        BplustreeUnsynced(),
        Bare(),
        Archive7(),
    ]
