"""Corpora: manifests of plain records, shards that any tar reader opens, preparation.

Preparation (``avsr.corpus.prepare``) needs the face stage and is imported by its own name.
"""

from avsr.corpus.grid import read_grid
from avsr.corpus.manifest import Record, read_manifest, resolve_media, write_manifest
from avsr.corpus.shards import (
    EncodedSample,
    Sample,
    ShardWriter,
    decode_audio,
    decode_mouth,
    decode_sample,
    encode_mouth,
    read_encoded_shards,
    read_shards,
)

__all__ = [
    "EncodedSample",
    "Record",
    "Sample",
    "ShardWriter",
    "decode_audio",
    "decode_mouth",
    "decode_sample",
    "encode_mouth",
    "read_encoded_shards",
    "read_grid",
    "read_manifest",
    "read_shards",
    "resolve_media",
    "write_manifest",
]
