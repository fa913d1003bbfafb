"""Import public checkpoints; export models to fairseq, ONNX, bf16 or int8."""

from avsr.interop.checkpoint_import import Imported, check_port, import_model
from avsr.interop.fairseq_export import export_fairseq
from avsr.interop.quantized_export import convert_model

__all__ = ["Imported", "check_port", "convert_model", "export_fairseq", "import_model"]
