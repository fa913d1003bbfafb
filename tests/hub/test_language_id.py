"""A language-ID model of the hub, by its short name, in a set of models."""

RUN = """
import sys, avsr
print(next(iter(avsr.detect_language(sys.argv[1], model="voxlingua107"))))
"""


def test_the_short_name_is_downloaded_imported_and_asked(hub, speechbrain):
    folder = hub.add("speechbrain/lang-id-voxlingua107-ecapa")
    speechbrain.write(folder, ["ja: Japanese", "en: English"], probs=[0.97, 0.03], filters=60)
    first = hub.run("-c", RUN, "demo/examples/ar.mp4")
    assert first.stdout == "ja\n", first.stderr
    command = ["-m", "avsr", "transcribe", "--model-set", "muavic", "demo/examples/ar.mp4"]
    run = hub.run(*command, HF_HUB_OFFLINE="1")
    assert run.returncode == 1
    assert "Japanese (0.97): no model of this set speaks it; --language forces one" in run.stderr
    assert run.stdout == ""
