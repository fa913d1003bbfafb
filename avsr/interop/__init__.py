"""Import public checkpoints; export models to fairseq, ONNX, bf16 or int8."""

from avsr.interop.checkpoint_import import Imported, import_model
from avsr.interop.fairseq_export import export_fairseq
from avsr.interop.quantized_export import convert_model

__all__ = ["Imported", "convert_model", "export_fairseq", "import_model"]
