"""Streams of blocks: every name of the seed's `archive7.streams`.

`StreamBlock` is one block, a stream is a chain of them, a manager keeps a set of streams in one
container, `VirtualFileObject` makes a stream a file.
"""

from .block import StreamBlock
from .dynamic import DynamicMultiStreamManager
from .file import VirtualFileObject
from .fixed import FixedMultiStreamManager
from .internal import InternalStream
from .manager import BaseStreamManager, SingleStreamManager, StreamManager
from .registry import Registry, StreamRegistry
from .stream import BaseStream, DataStream

__all__ = [
    "BaseStream",
    "BaseStreamManager",
    "DataStream",
    "DynamicMultiStreamManager",
    "FixedMultiStreamManager",
    "InternalStream",
    "Registry",
    "SingleStreamManager",
    "StreamBlock",
    "StreamManager",
    "StreamRegistry",
    "VirtualFileObject",
]
