"""Foreign checkpoints -> this project's names, and back."""

from avsr.interop.converting import convert_model
from avsr.interop.exporting import export_fairseq
from avsr.interop.importing import Imported, import_model

__all__ = ["Imported", "convert_model", "export_fairseq", "import_model"]
