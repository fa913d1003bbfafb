"""Work on the training texts alone: tokenizer coverage and n-gram language models."""

from collections import Counter, defaultdict

from avsr.decoder import BOS, EOS, UNK, Tokenizer
from avsr.errors import ConfigError
from avsr.search import NgramModel
from avsr.training.config import TrainConfig
from avsr.training.dataset import Utterances


def check_coverage(tokenizer: Tokenizer, data: Utterances) -> None:
    """Check that the tokenizer has tokens for every character of the texts.

    Raises:
        ConfigError: Characters without tokens, counted per language.
    """
    unknown: dict[str, Counter[str]] = defaultdict(Counter)
    num_tokens: Counter[str] = Counter()
    covered: set[str] = set()
    for record in (sample.record for sample in data.samples):
        tokens = tokenizer.encode(record.text)
        num_tokens[record.language] += len(tokens)
        if UNK in tokens:
            for char in set(record.text) - covered:
                if UNK in tokenizer.encode(char):
                    unknown[record.language][char] += record.text.count(char)
                else:
                    covered.add(char)
    if unknown:
        summary = "; ".join(
            f"{language}: {counts.total()} characters of {num_tokens[language]} tokens, most often "
            + " ".join(char for char, _ in counts.most_common(5))
            for language, counts in sorted(unknown.items())
        )
        raise ConfigError(
            f"the tokenizer does not know every character ({summary}): train without 'init', or "
            "normalise the texts"
        )


def train_ngrams(
    config: TrainConfig, tokenizer: Tokenizer | None, data: Utterances
) -> dict[str, NgramModel]:
    """Train an n-gram model per language on the training texts; none if ``lm_order`` is 0."""
    if config.lm_order == 0:
        return {}
    assert tokenizer is not None
    texts: dict[str, list[list[int]]] = defaultdict(list)
    for record in (sample.record for sample in data.samples):
        texts[record.language].append(tokenizer.encode(record.text))
    return {
        language: NgramModel.train(
            texts[language],
            order=config.lm_order,
            vocabulary_size=len(tokenizer),
            bos=BOS,
            eos=EOS,
            min_count=config.lm_min_count,
        )
        for language in config.languages
        if texts[language]
    }
