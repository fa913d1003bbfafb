"""Text <-> token ids: a sentencepiece model whose first four tokens are special symbols."""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from avsr.errors import ModelError

BOS, PAD, EOS, UNK = 0, 1, 2, 3
BLANK = BOS  # <s> is never a target, so its id is free for CTC's blank


class Tokenizer:
    """A sentencepiece model whose ids 0..3 are ``<s> <pad> </s> <unk>``."""

    def __init__(self, model: bytes) -> None:
        """Read a sentencepiece model.

        Args:
            model: Content of a ``tokenizer.model`` file.

        Raises:
            ModelError: It is no sentencepiece model, or its special symbols have other ids.
        """
        self.model = model
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ModelError(f"the tokenizer is not a sentencepiece model: {error}") from error
        ids = [self._pieces.bos_id(), self._pieces.pad_id(), self._pieces.eos_id()]
        if [*ids, self._pieces.unk_id()] != [BOS, PAD, EOS, UNK]:
            raise ModelError("the tokenizer's <s>, <pad>, </s>, <unk> must have the ids 0, 1, 2, 3")

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read ``tokenizer.model``; raise ModelError if it is missing or broken."""
        if not path.is_file():
            raise ModelError(f"no tokenizer at {path}; a model directory needs tokenizer.model")
        try:
            return cls(path.read_bytes())
        except (ModelError, OSError) as error:
            raise ModelError(f"{path} is broken: {' '.join(str(error).split())}") from error

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int) -> "Tokenizer":
        """Train a unigram model that covers every character of the texts.

        Args:
            texts: Training texts.
            vocabulary_size: Tokens V, the four special symbols included.

        Raises:
            ModelError: The texts have too few different pieces for that size.
        """
        writer = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=writer,
                vocab_size=vocabulary_size,
                model_type="unigram",
                character_coverage=1.0,
                bos_id=BOS,
                pad_id=PAD,
                eos_id=EOS,
                unk_id=UNK,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            limit = re.search(r"value <= (\d+)", str(error))
            reason = str(error)
            if limit:
                reason = f"the texts give at most {limit[1]}: set vocabulary_size to that or less"
            raise ModelError(
                f"cannot train a tokenizer of {vocabulary_size} tokens: {reason}"
            ) from error
        return cls(writer.getvalue())

    def __len__(self) -> int:
        """Return the vocabulary size V, special symbols included."""
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without ``<s>`` and ``</s>``."""
        return self._pieces.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids; special symbols other than ``<unk>`` are dropped."""
        return self._pieces.decode([t for t in tokens if t not in (BOS, PAD, EOS)])

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return the piece of each token; a word begins where one starts with U+2581."""
        return [self._pieces.id_to_piece(t) for t in tokens]
