"""Archive7: an encrypted virtual filesystem in one file.

`open` gives an `Archive`.  The layers, lowest first, in the order of imports and of the data path:

errors, layout; device, locks; crypto, keys, keyslots, superblock, unlock; slots, positions, map,
root, cache, reader, blocks, opening, snapshot, durability, commit, blanking, creation,
headerbackup; treenode, btree; streams; entry, extras, paths, entries, links, deletion,
filesystem; pattern, query, search; session, files, directories, names, attributes; transfer,
check, keyring, pathobject, archive; cli.
"""

from . import keys
from .archive import Archive, open  # noqa: A004 - the name users know
from .check import Check, CheckState
from .deletion import Delete, Deleted
from .errors import (
    Archive7Error,
    BlockCorruptError,
    ClosedError,
    CorruptError,
    ExistsError,
    FormatError,
    FullError,
    IsADirectoryError,  # noqa: A004 - is one
    KdfLimitError,
    LockedError,
    LoopError,
    NameTooLongError,
    NotADirectoryError,  # noqa: A004 - is one
    NotAnArchiveError,
    NotEmptyError,
    NotFoundError,
    NotPermittedError,
    PathError,
    ReadOnlyError,
    ReceiptError,
    RecordCorruptError,
    RecoveredWarning,
    RekeyedError,
    RollbackError,
    SnapshotExpiredError,
    SuiteUnavailableError,
    SuperblockCorruptError,
    SyncFailedError,
    TransactionError,
    TreeCorruptError,
    UnauthenticatedError,
    UsageError,
    VersionError,
    WrongKeyError,
)
from .finding import Finding
from .header import ArchiveHeader
from .info import ArchiveInfo
from .keyring import KeyInfo, Keyring
from .keys import Identity, Recipient
from .keyslots import KdfCost, Secrets
from .mending import Mend, RepairReport
from .pathobject import ArchivePath
from .query import Condition, Q
from .receipt import Receipt
from .rekey import RekeyReport
from .remedies import repair, rescue, restore_header, shred
from .rescued import Rescue, Rescued
from .search import Found
from .transfer import Transfer

__version__ = "0.1.0.dev0"

__all__ = [
    "Archive",
    "Archive7Error",
    "ArchiveHeader",
    "ArchiveInfo",
    "ArchivePath",
    "BlockCorruptError",
    "Check",
    "CheckState",
    "ClosedError",
    "Condition",
    "CorruptError",
    "Delete",
    "Deleted",
    "ExistsError",
    "Finding",
    "FormatError",
    "Found",
    "FullError",
    "Identity",
    "IsADirectoryError",
    "KdfCost",
    "KdfLimitError",
    "KeyInfo",
    "Keyring",
    "LockedError",
    "LoopError",
    "Mend",
    "NameTooLongError",
    "NotADirectoryError",
    "NotAnArchiveError",
    "NotEmptyError",
    "NotFoundError",
    "NotPermittedError",
    "PathError",
    "Q",
    "ReadOnlyError",
    "Receipt",
    "ReceiptError",
    "Recipient",
    "RecordCorruptError",
    "RecoveredWarning",
    "RekeyReport",
    "RekeyedError",
    "RepairReport",
    "Rescue",
    "Rescued",
    "RollbackError",
    "Secrets",
    "SnapshotExpiredError",
    "SuiteUnavailableError",
    "SuperblockCorruptError",
    "SyncFailedError",
    "TransactionError",
    "Transfer",
    "TreeCorruptError",
    "UnauthenticatedError",
    "UsageError",
    "VersionError",
    "WrongKeyError",
    "keys",
    "open",
    "repair",
    "rescue",
    "restore_header",
    "shred",
]
