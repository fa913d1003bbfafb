"""Costs of breaking a sentence: least after punctuation, at pauses and before phrases."""

from collections.abc import Sequence

# Cost of a break after a word, in the unit of cues.py.
SENTENCE_END = 0.0
CLAUSE_END = 1.0
PHRASE_START = 1.5  # the next word starts a phrase: "we went | to the shop"
BETWEEN_WORDS = 2.0
INSIDE_PHRASE = 4.0  # the word belongs to the next one: "to the | shop"
PAUSE_RELIEF = 2.0  # subtracted at a long pause
LONG_PAUSE = 1.0  # s; at a shorter pause its share of this counts

_SENTENCE_MARKS = ".!?…؟۔"
_CLAUSE_MARKS = ",;:،؛·–—"
_CLOSING = "\"'”’»)]"
_OPENING = "¿¡«“„(["

# fmt: off
# Articles, prepositions and conjunctions: short words that belong to the next word.
_PROCLITICS = {
    "ar": "في من على إلى الى عن مع بين حتى منذ أن إن ان لأن لكن أو ثم قد لم لن لا ما هل كل يا "
          "عند بعد قبل",
    "de": "der die das den dem des ein eine einen einem einer eines und oder aber dass weil "
          "wenn als ob in im an am auf aus bei mit nach von vom vor zu zum zur für durch über "
          "unter um ohne gegen mein dein sein ihr unser kein keine nicht sehr",
    "el": "ο η το οι τα τον την του της των τους τις ένας μια μία ένα και ή αλλά ότι πως να "
          "θα δεν μην σε στο στη στην στον στους στις στα από για με προς χωρίς όταν αν γιατί",
    "en": "a an the and or but nor so that which who if when because as than of to in on at "
          "by for from with into over under about through between without my your his her its "
          "our their this these those no not very i we they he she you it's",
    "es": "el la los las un una unos unas y e o u pero que si cuando porque como de del a al "
          "en con por para sin sobre entre hasta desde mi tu su nuestro nuestra no muy se lo "
          "le",
    "fr": "le la les l un une des du de d et ou mais que qui si quand parce comme à au aux en "
          "dans sur sous avec pour par sans chez entre vers mon ma mes ton ta tes son sa ses "
          "notre nos votre vos leur leurs ne pas très je tu il elle on nous vous ils elles ce "
          "cette ces se",
    "it": "il lo la i gli le l un uno una e ed o ma che se quando perché come di del dello "
          "della dei degli delle a al allo alla ai agli alle da dal dalla in nel nella con su "
          "sul sulla per tra fra senza mio mia tuo tua suo sua non molto si",
    "pt": "o a os as um uma uns umas e ou mas que se quando porque como de do da dos das em "
          "no na nos nas a ao aos à às por pelo pela para com sem sobre entre até desde meu "
          "minha teu tua seu sua não muito",
    "ru": "и а но или что чтобы если когда потому как в во на с со к ко у о об от до из за по "
          "под над при про для без через между не ни же мой моя твой твоя его её их наш ваш "
          "этот эта это",
}
# fmt: on
_WORDS = {language: frozenset(words.split()) for language, words in _PROCLITICS.items()}


def break_costs(words: Sequence[str], pauses: Sequence[float], language: str) -> list[float]:
    """Compute the cost of a break after each word but the last.

    Args:
        words: (n,) words with their punctuation.
        pauses: (n - 1,) silences after the words in seconds; zeros if the times are not known.
        language: ISO 639-1 code. Without a list of short words only punctuation and pauses count.

    Returns:
        (n - 1,) costs from 0 to 4.
    """
    proclitics = _WORDS.get(language, frozenset())
    costs = []
    for word, following, pause in zip(words[:-1], words[1:], pauses, strict=True):
        cost = _cost(word, following, proclitics)
        costs.append(max(0.0, cost - PAUSE_RELIEF * min(1.0, pause / LONG_PAUSE)))
    return costs


def _cost(word: str, following: str, proclitics: frozenset[str]) -> float:
    last = word.rstrip(_CLOSING)[-1:]
    if last and last in _SENTENCE_MARKS:
        return SENTENCE_END
    if (last and last in _CLAUSE_MARKS) or following[0] in _OPENING:
        return CLAUSE_END
    if word.lower().strip(_OPENING) in proclitics:
        return INSIDE_PHRASE
    if following.lower() in proclitics:
        return PHRASE_START
    return BETWEEN_WORDS
