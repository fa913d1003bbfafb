"""Small checkpoints asked for gigabytes, for a billion layers, or for hours of reading."""

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from avsr.errors import ModelError
from avsr.interop import import_model, safe_unpickler
from avsr.interop.checkpoint_readers import ANCHOR, plain, read_fairseq
from avsr.interop.safe_unpickler import StandIn, read_checkpoint

MODEL = {ANCHOR: torch.zeros(2, 2)}


def nested(depth, width=9):
    """A list of lists of the same list: a few bytes, and `width` to the power of `depth` values."""
    value = ["x"]
    for _ in range(depth):
        value = [value] * width
    return value


def refusal(path):
    with pytest.raises(ModelError) as caught:
        import_model(path, path.parent / "out", encoder_heads=1)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)
    assert not (path.parent / "out").exists()
    return str(caught.value)


def test_numbers_of_layers_have_no_gaps(tmp_path):
    weights = {
        ANCHOR: torch.zeros(8, 104),
        "encoder.w2v_model.encoder.pos_conv.0.weight_v": torch.zeros(8, 1, 4),
        "encoder.w2v_model.feature_extractor_video.resnet.frontend3D.0.weight": torch.zeros(4, 1),
        "encoder.w2v_model.encoder.layers.0.fc1.weight": torch.zeros(8, 8),
        "encoder.w2v_model.encoder.layers.999999999.fc1.weight": torch.zeros(8, 8),
    }
    torch.save({"model": weights}, tmp_path / "x.pt")
    assert "it has a layer 999999999 of its encoder.transformer, but none" in refusal(
        tmp_path / "x.pt"
    )


def test_compressed_content_is_refused(tmp_path):
    torch.save({"model": {ANCHOR: torch.zeros(4 << 20)}}, tmp_path / "plain.pt")
    compressed = zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pt") as source, compressed as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    assert (tmp_path / "x.pt").stat().st_size < 100_000
    assert "is compressed, which no checkpoint is" in refusal(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_large_pickles_are_refused(tmp_path, kind):
    content = b"\x80\x02" + b"]" * (33 << 20) + b"."
    with zipfile.ZipFile(tmp_path / "x.pt", "w", kind) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", "3")
    assert "its settings have 33 MB" in refusal(tmp_path / "x.pt")


@pytest.mark.parametrize("is_archive", [True, False])
def test_pickles_of_many_operations_are_refused(tmp_path, monkeypatch, is_archive):
    """A byte of a pickle can become an object of 60, and takes time."""
    monkeypatch.setattr(safe_unpickler, "MAX_OPERATIONS", 20_000)
    content = b"\x80\x02" + b"]" * 30_000 + b"."
    if is_archive:
        with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
            archive.writestr("x/data.pkl", content)
            archive.writestr("x/version", "3")
    else:
        (tmp_path / "x.pt").write_bytes(content)
    assert "it holds more than any checkpoint" in refusal(tmp_path / "x.pt")


def test_lists_of_the_same_list_are_read_once(tmp_path):
    deep = argparse.Namespace(w2v_args=nested(30), heads=nested(30))
    content = {"model": MODEL, "args": deep, "task_state": nested(30), "languages": nested(30)}
    torch.save(content, tmp_path / "x.pt")
    assert read_fairseq(tmp_path / "x.pt").pieces is None


def test_a_setting_of_many_values_is_shown_in_short(tmp_path):
    settings = argparse.Namespace(layer_norm_first=nested(30))
    content = {"model": MODEL | {"encoder.layers.0.fc1.weight": torch.ones(2, 2)}, "args": settings}
    torch.save(content, tmp_path / "x.pt")
    assert len(refusal(tmp_path / "x.pt")) < 500


def test_settings_that_hold_themselves_are_read():
    ring = StandIn()
    ring.state = {"model": ring, "list": [ring]}
    assert plain(ring) == {"model": None, "list": [None]}


def test_settings_that_are_nested_deeply_are_one_line(tmp_path):
    deep = b"(" + b"]" * 20_000 + b"a" * 19_999 + b"t"  # in a tuple, which nothing looks into
    lists = b"\x80\x02}(X\x05\x00\x00\x00modelX\x04\x00\x00\x00args" + b"]" * 20_000
    for content in (b"\x80\x02" + deep + b".", lists + b"a" * 19_999 + b"u."):
        (tmp_path / "x.pt").write_bytes(content)
        refusal(tmp_path / "x.pt")
    state = {"model": MODEL, "args": nested(300, 1)}
    torch.save(state, tmp_path / "x.pt")
    assert read_fairseq(tmp_path / "x.pt").encoder == {}


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(1).expand(1 << 20, 1 << 20),
        torch.zeros(1, 1).as_strided((5, 5), (0, 0)),
        torch.sparse_coo_tensor(size=(4, 4)),
        torch.quantize_per_tensor(torch.zeros(4, 4), 0.1, 0, torch.qint8),
        torch.zeros(4, 4, device="meta"),
    ],
    ids=["expanded", "strided", "sparse", "quantized", "meta"],
)
def test_weights_have_their_values_in_the_file(tmp_path, weight):
    torch.save({"model": MODEL | {"encoder.x": weight}}, tmp_path / "x.pt")
    refusal(tmp_path / "x.pt")


class Odd:
    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    "value",
    [
        Odd(torch._utils._rebuild_tensor_v2, (None, 0, (1,), (1,), False, OrderedDict())),
        Odd(torch._utils._rebuild_parameter, (3, True, {})),
        Odd(OrderedDict, (5,)),
        Odd(torch._utils._rebuild_tensor_v2, ()),
        {(): 1, b"x": 2},
        [1, 2],
        None,
    ],
    ids=["storage", "parameter", "ordered", "empty", "keys", "list", "none"],
)
def test_strange_pickles_are_one_line(tmp_path, value):
    buffer = io.BytesIO()
    torch.save({"model": value}, buffer)
    (tmp_path / "x.pt").write_bytes(buffer.getvalue())
    refusal(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"model": value}, protocol=2))
    refusal(tmp_path / "x.pt")


def test_good_checkpoints_are_read_as_before(tmp_path):
    settings = argparse.Namespace(encoder_layers=2, names=["a", {"b": 1}])
    torch.save({"model": MODEL, "args": settings}, tmp_path / "x.pt")
    assert read_fairseq(tmp_path / "x.pt").encoder == {
        "encoder_layers": 2,
        "names": ["a", {"b": 1}],
    }
    assert torch.equal(read_checkpoint(tmp_path / "x.pt")["model"][ANCHOR], MODEL[ANCHOR])
