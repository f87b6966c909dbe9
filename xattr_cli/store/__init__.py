"""Results on disk: parts that survive any kill, and the HDF5 file that they are merged into."""

from .columns import Column
from .durable import check_writable
from .finished import finished_output
from .folder import discard_leftovers, parts_folder
from .manifest import FORMAT, Manifest, changes
from .parts import PartSet
from .provenance import provenance
from .shard import Shard

__all__ = [
    "FORMAT",
    "Column",
    "Manifest",
    "PartSet",
    "Shard",
    "changes",
    "check_writable",
    "discard_leftovers",
    "finished_output",
    "parts_folder",
    "provenance",
]
