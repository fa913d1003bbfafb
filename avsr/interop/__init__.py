"""Foreign checkpoints -> this project's names, and back."""

from avsr.interop.exporting import export_fairseq
from avsr.interop.importing import Imported, import_model

__all__ = ["Imported", "export_fairseq", "import_model"]
