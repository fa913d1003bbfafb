import pytest

from avsr.evaluation import normalize_text


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "  Hello,   WORLD! (twice)\n", "hello world twice"),
        ("en", "Don’t rock 'n' roll — the boys' club", "don't rock n roll the boys club"),
        ("fr", "L’été d'Aujourd'hui : « ça » va-t-il ?", "l'été d'aujourd'hui ça va t il"),
        ("it", "Dell´arte, po' d'acqua", "dell'arte po d'acqua"),
        ("de", "Die Straße kostet 3,50 € mehr.", "die straße kostet 3 50 mehr"),
        ("el", "Ο ΛΌΓΟΣ, του ΟΔΥΣΣΈΑ·", "ο λόγος του οδυσσέα"),
        ("es", "¿Qué? ¡Año!", "qué año"),
        ("pt", "Não, pão-de-ló", "não pão de ló"),
        ("ru", "За́мок, Ёж и йод", "замок ёж и йод"),
        ("ar", "مَرْحَبًا، بِالعـــالم؟", "مرحبا بالعالم"),
        ("ar", "آية ٣", "آية ٣"),
        ("en", "co\u00adop\u200f \ufeffyes", "coop yes"),
        ("fr", "e\u0301te\u0301", "été"),
        ("it", "''così'' y''z '", "così y z"),
        ("en", "…!?", ""),
        ("en", "", ""),
    ],
)
def test_normalised_text(language, text, expected):
    normalised = normalize_text(text, language)
    assert normalised == expected
    assert normalize_text(normalised, language) == normalised
