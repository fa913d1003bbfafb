"""Find and load models: bundled, public ones by a short name, in a directory, or on the hub."""

from avsr.hub.loading import find_model, load_network, log_licence
from avsr.hub.model_list import Listed, list_models
from avsr.hub.names import ASSETS, BUNDLED, DEFAULT_MODEL, SCHEME, find_public, is_name
from avsr.hub.public_models import PUBLIC_MODELS, PublicModel
from avsr.hub.repository import fetch

__all__ = [
    "ASSETS",
    "BUNDLED",
    "DEFAULT_MODEL",
    "PUBLIC_MODELS",
    "SCHEME",
    "Listed",
    "PublicModel",
    "fetch",
    "find_model",
    "find_public",
    "is_name",
    "list_models",
    "load_network",
    "log_licence",
]
