"""Results on disk: parts that survive any kill, and the HDF5 file that they are merged into."""

from .columns import ResultColumn
from .durable import check_writable
from .folder import discard_leftovers, parts_folder
from .manifest import FORMAT, Manifest, changes, code_changes, finished_output, provenance
from .parts import DamagedPartsError, PartSet
from .shard import Shard

__all__ = [
    "FORMAT",
    "DamagedPartsError",
    "Manifest",
    "PartSet",
    "ResultColumn",
    "Shard",
    "changes",
    "check_writable",
    "code_changes",
    "discard_leftovers",
    "finished_output",
    "parts_folder",
    "provenance",
]
