"""Stage 6 of 8: features -> CTC log-probabilities and attention decoder; tokens <-> text."""

from avsr.decoder.tokenizer import BLANK, BOS, EOS, PAD, UNK, Tokenizer
from avsr.decoder.transformer import AttentionDecoder, DecoderConfig, DecoderState

__all__ = [
    "BLANK",
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "AttentionDecoder",
    "DecoderConfig",
    "DecoderState",
    "Tokenizer",
]
