"""What training does with the texts alone: check the tokenizer, count n-grams."""

from collections import Counter, defaultdict

from avsr.decoder import BOS, EOS, UNK, Tokenizer
from avsr.errors import ConfigError
from avsr.search import NgramModel
from avsr.training.config import TrainConfig
from avsr.training.dataset import Utterances


def check_coverage(tokenizer: Tokenizer, data: Utterances) -> None:
    """Raise ConfigError where a language has characters that the tokenizer does not know."""
    unknown: dict[str, Counter[str]] = defaultdict(Counter)
    tokens: Counter[str] = Counter()
    known: set[str] = set()
    for record in (sample.record for sample in data.samples):
        encoded = tokenizer.encode(record.text)
        tokens[record.language] += len(encoded)
        if UNK in encoded:
            for char in set(record.text) - known:
                if UNK in tokenizer.encode(char):
                    unknown[record.language][char] += record.text.count(char)
                else:
                    known.add(char)
    if unknown:
        found = "; ".join(
            f"{language}: {counts.total()} characters of {tokens[language]} tokens, most often "
            + " ".join(char for char, _ in counts.most_common(5))
            for language, counts in sorted(unknown.items())
        )
        raise ConfigError(
            f"the tokenizer does not know every character ({found}): train without 'init', or "
            "normalise the texts"
        )


def count_texts(
    config: TrainConfig, tokenizer: Tokenizer | None, data: Utterances
) -> dict[str, NgramModel]:
    """A language model of the training texts of each language."""
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
