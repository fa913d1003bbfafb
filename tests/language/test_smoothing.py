from avsr.language import smooth_languages


def row(**probs):
    others = (1 - sum(probs.values())) / 2
    return {"de": others, "es": others, "fr": others} | probs


def test_an_unsure_part_follows_its_neighbours():
    rows = [row(de=0.9), row(de=0.9), row(es=0.6, de=0.3), row(de=0.9)]
    assert smooth_languages(rows) == ["de"] * 4


def test_a_talk_may_change_its_language():
    rows = [row(de=0.9)] * 4 + [row(es=0.9)] * 4
    assert smooth_languages(rows) == ["de"] * 4 + ["es"] * 4


def test_one_sure_part_between_others_is_believed():
    sure = {"de": 1e-6, "es": 1.0, "fr": 1e-6}
    assert smooth_languages([row(de=0.99), sure, row(de=0.99)]) == ["de", "es", "de"]


def test_a_single_part_is_the_most_likely():
    assert smooth_languages([row(fr=0.4)]) == ["fr"]
    assert smooth_languages([]) == []


def test_nothing_smooths_without_a_cost():
    rows = [row(de=0.5), row(es=0.5), row(fr=0.5)]
    assert smooth_languages(rows, 0.0) == ["de", "es", "fr"]
