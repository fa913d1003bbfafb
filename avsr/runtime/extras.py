"""Optional packages: which extra of avsr brings them."""

EXTRAS = {
    "espeakng_loader": "synthetic",
    "fastapi": "demo",
    "gradio": "demo",
    "lightning": "train",
    "num2words": "synthetic",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "pyworld": "synthetic",
    "rapidfuzz": "evaluate",
    "ray": "cluster",
    "skimage": "synthetic",
    "soundfile": "train",
    "tensorboard": "train",
    "uvicorn": "demo",
    "wordfreq": "synthetic",
}
"""Package as it is imported -> extra."""


def explain_missing(error: ModuleNotFoundError) -> str | None:
    """One line that names the extra to install; None if no extra brings the missing package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return f"this needs the package {package}: pip install 'avsr[{EXTRAS[package]}]'"
