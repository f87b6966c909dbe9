"""Results in the formats of other programs; importing this package registers the built-in exporters."""

from .annotated import AnnDataExporter
from .labelled import NetcdfExporter, NpzExporter, ZarrExporter
from .one_engine import QuantusExporter, ShapJsonExporter
from .one_hot import BprevealExporter, ChrombpnetExporter, ModiscoExporter
from .tables import CsvExporter, ParquetExporter
from .virelay import VirelayExporter

__all__ = [
    "AnnDataExporter",
    "BprevealExporter",
    "ChrombpnetExporter",
    "CsvExporter",
    "ModiscoExporter",
    "NetcdfExporter",
    "NpzExporter",
    "ParquetExporter",
    "QuantusExporter",
    "ShapJsonExporter",
    "VirelayExporter",
    "ZarrExporter",
]
