"""Corpora: manifests (JSON lines or CSV), shards (tar files), and readers of public corpora.

``avsr.corpus.prepare`` cuts recordings into shards. It needs the face stage, so it is not imported
here.
"""

from avsr.corpus.balance import (
    LanguageBalance,
    balance_table,
    language_balance,
    plot_balance,
)
from avsr.corpus.codecs import decode_audio, decode_mouth, encode_mouth
from avsr.corpus.grid import read_grid
from avsr.corpus.lrs3 import read_lrs3
from avsr.corpus.manifest import (
    Entry,
    Record,
    read_manifest,
    resolve_media,
    scan_manifest,
    write_manifest,
)
from avsr.corpus.muavic import read_muavic
from avsr.corpus.shard_index import StoredSample, open_shard
from avsr.corpus.shards import (
    EncodedSample,
    Sample,
    ShardWriter,
    decode_sample,
    open_shards,
    read_shards,
)
from avsr.corpus.validate import validate_manifest
from avsr.corpus.voices import read_festvox, read_voices

__all__ = [
    "EncodedSample",
    "Entry",
    "LanguageBalance",
    "Record",
    "Sample",
    "ShardWriter",
    "StoredSample",
    "balance_table",
    "decode_audio",
    "decode_mouth",
    "decode_sample",
    "encode_mouth",
    "language_balance",
    "open_shard",
    "open_shards",
    "plot_balance",
    "read_festvox",
    "read_grid",
    "read_lrs3",
    "read_manifest",
    "read_muavic",
    "read_shards",
    "read_voices",
    "resolve_media",
    "scan_manifest",
    "validate_manifest",
    "write_manifest",
]
