"""Files of the original libraries; made by benchmarks/conformance/vit.py."""

import json
import random
import re
import shutil
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from heredity.common.errors import HeredityError, MismatchError, RefusedError, UsageError
from heredity.networks import Vit, VitOptions
from heredity.networks.positions import resized_positions
from heredity.networks.vit_file import read_vit
from heredity.spaces import Box
from heredity.weights import flatten

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vit"
KINDS = ("vit", "dinov2", "torchvision")
CASES = [(kind, "same") for kind in KINDS]
CASES += [(kind, case) for kind in KINDS[:2] for case in ("wider", "resized")]


def expected(kind: str) -> dict[str, np.ndarray]:
    return load_file(FIXTURES / kind / "expected.safetensors")


def blank(network: Vit):
    """Weights that show which were filled, without compiling what draws them."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, leaf.dtype), shapes)


def network_for(file, pictures: np.ndarray, **changed) -> Vit:
    options = VitOptions(hidden=(), **{**file.options, **changed})
    return Vit(options, Box(pictures.shape[1:], 0, 255, "uint8"), None)


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_outputs_are_those_of_the_original(kind: str, case: str):
    file = read_vit(FIXTURES / kind, heads=4)
    pictures, tokens = (expected(kind)[f"{case}/{name}"] for name in ("pictures", "tokens"))
    # As the original does it, the wider pictures are read as they are, not resized.
    wider = {"picture_size": pictures.shape[1:3]} if case == "wider" else {}
    network = network_for(file, pictures, **wider)
    params, report = file.inject(blank(network), grid=network.shape.grid)
    apply = jax.jit(lambda params, seen: network.apply(params, seen, taps=["image/tokens"]))
    features, _, taps = apply(params, pictures)
    scale = np.abs(tokens).max()
    np.testing.assert_allclose(taps["image/tokens"], tokens, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(features, tokens[:, 0], rtol=1e-4, atol=1e-5 * scale)
    assert report.coverage == 1.0
    actions = {row.path: row.action for row in report.rows}
    assert actions["encoder/positions"] == ("resized" if case == "wider" else "copied")
    assert actions["encoder/patches/kernel"] == "permuted"
    assert actions["encoder/block_1/attention/value/kernel"] == "transposed"
    assert str(report.guarantee) == ("approximate" if case == "wider" else "exact")
    assert file.sha256 in report.notes[0]


@pytest.mark.parametrize("kind", KINDS[:2])
def test_positions_for_other_grids_are_those_of_the_original(kind: str):
    positions = load_file(FIXTURES / kind / "model.safetensors")["embeddings.position_embeddings"]
    found = {n: value for n, value in expected(kind).items() if n.startswith("positions/")}
    assert len(found) == 3
    for name, value in found.items():
        height, width = map(int, name.removeprefix("positions/").split("x"))
        ours = resized_positions(positions, (4, 4), (height // 8, width // 8))
        np.testing.assert_allclose(ours, value, rtol=1e-4, atol=1e-6)


def test_sizes_and_preprocessing_are_read_from_the_files():
    vit, dinov2, torchvision = (read_vit(FIXTURES / kind, heads=4) for kind in KINDS)
    sizes = {"patch": 8, "width": 32, "depth": 2, "mlp_width": 64, "heads": 4}
    sizes["picture_size"] = (32, 32)
    for file in (vit, dinov2, torchvision):
        assert {name: file.options[name] for name in sizes} == sizes
    assert [file.layout.name for file in (vit, dinov2, torchvision)] == [
        "hugging_face_vit",
        "hugging_face_dinov2",
        "torchvision",
    ]
    assert vit.options["picture_mean"] == (0.5, 0.5, 0.5) and vit.options["norm_epsilon"] == 1e-12
    assert dinov2.options["picture_resize"] == "bicubic" and dinov2.options["layer_scale"] == 1.0
    assert not vit.notes and "not told" in torchvision.notes[0]
    assert read_vit(FIXTURES / "vit").options["heads"] == 4  # config.json says so


def copied(kind: str, place: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / kind, place / kind))


def test_what_no_file_says_has_to_be_given(tmp_path: Path):
    with pytest.raises(UsageError, match=r"how many heads.*--network\.heads"):
        read_vit(FIXTURES / "torchvision")
    folder = copied("vit", tmp_path)
    with pytest.raises(UsageError, match=r"says num_attention_heads 4; leave heads out"):
        read_vit(folder, heads=2)
    (folder / "config.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match="give heads"):
        read_vit(folder)
    told = " ".join(read_vit(folder, heads=4).notes)
    assert "norm_epsilon 1e-12" in told and "picture_mean 0.5 0.5 0.5" in told


def test_a_model_inside_of_another_is_found_by_its_prefix(tmp_path: Path):
    tensors = load_file(FIXTURES / "vit" / "model.safetensors")
    inside = {f"vit.{name}": array for name, array in tensors.items() if "pooler" not in name}
    head = {"classifier.weight": np.ones((2, 32), np.float32)}
    save_file({**inside, **head}, tmp_path / "model.safetensors")
    file = read_vit(tmp_path, heads=4)
    assert file.prefix == "vit."
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    network = network_for(file, pictures)
    params, report = file.inject(blank(network))
    alone = read_vit(FIXTURES / "vit").inject(blank(network))[0]
    jax.tree.map(np.testing.assert_array_equal, params, alone)
    assert [row.path for row in report.rows if row.action == "dropped"] == ["classifier.weight"]


def test_half_precision_is_cast_and_said_so(tmp_path: Path):
    tensors = load_file(FIXTURES / "dinov2" / "model.safetensors")
    half = {name: array.astype(np.float16) for name, array in tensors.items()}
    save_file(half, tmp_path / "model.safetensors")
    file = read_vit(tmp_path, heads=4)
    network = network_for(file, np.zeros((1, 32, 32, 3), np.uint8))
    params, report = file.inject(blank(network))
    assert {leaf.dtype for leaf in flatten(params).values()} == {np.dtype(np.float32)}
    assert report.counts()["cast"] > 10 and str(report.guarantee) == "exact"


def test_bfloat16_is_read(tmp_path: Path):
    tensors = load_file(FIXTURES / "dinov2" / "model.safetensors")
    coarse = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    save_file(coarse, tmp_path / "model.safetensors")
    file = read_vit(tmp_path, heads=4)
    network = network_for(file, np.zeros((1, 32, 32, 3), np.uint8))
    params, report = file.inject(blank(network))
    kernel = params["encoder"]["block_0"]["mlp"]["hidden"]["kernel"]
    wanted = coarse["encoder.layer.0.mlp.fc1.weight"].T.astype(np.float32)
    np.testing.assert_array_equal(kernel, wanted)
    assert report.counts()["cast"] > 10 and str(report.guarantee) == "exact"


def test_an_encoder_of_other_sizes_is_refused():
    file = read_vit(FIXTURES / "vit")
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    side = 2 * file.options["patch"]
    with pytest.raises(MismatchError, match=r"of 4 patches, not of .* \(rows, columns\)"):
        file.inject(blank(network_for(file, pictures, picture_size=(side, side))))
    for changed in ({"mlp_width": 32}, {"depth": 1}, {"depth": 3}, {"layer_scale": 1.0}):
        network = network_for(file, pictures, **changed)
        with pytest.raises(MismatchError, match=r"encoder/block|expected"):
            file.inject(blank(network))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu': this encoder has 'gelu'"),
        ({"qkv_bias": False}, "qkv_bias False"),
        ({"model_type": "vit_mae"}, "model_type 'vit_mae'"),
        ({"patch_size": 5}, "patch_size 5, the weights beside it have 8"),
        ({"num_hidden_layers": 7}, "num_hidden_layers 7, the weights"),
    ],
)
def test_a_model_that_computes_otherwise_is_refused(tmp_path: Path, changed: dict, told: str):
    folder = copied("vit", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(RefusedError, match=told):
        read_vit(folder)


def test_files_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match="is missing"):
        read_vit(tmp_path / "no.safetensors")
    save_file({"fc.weight": np.ones((2, 2), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(RefusedError, match=r"no Vision Transformer that is known.*fc\.weight"):
        read_vit(tmp_path / "other.safetensors")
    whole = (FIXTURES / "vit" / "model.safetensors").read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(whole[:-100])
    with pytest.raises(RefusedError, match="not a whole safetensors file"):
        read_vit(tmp_path / "torn.safetensors")
    folder = copied("vit", tmp_path)
    (folder / "config.json").write_text("[")
    with pytest.raises(RefusedError, match=r"config\.json: is not JSON"):
        read_vit(folder)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rescale_factor": 1.0}, r"rescale_factor 1\.0: 1/255 was expected"),
        ({"do_rescale": False}, "do_rescale False: this encoder reads pixels divided by 255"),
        ({"resample": 9}, "resample 9"),
        ({"image_mean": "0.5"}, "image_mean '0.5'"),
        ({"image_std": [0.5, 0.0, 0.5]}, "no encoder that can be built"),
    ],
)
def test_preprocessing_that_cannot_be_kept_is_refused(tmp_path: Path, changed: dict, told: str):
    folder = copied("vit", tmp_path)
    place = folder / "preprocessor_config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **changed}))
    with pytest.raises(RefusedError, match=told):
        read_vit(folder)


def test_what_is_not_followed_of_a_processor_is_told(tmp_path: Path):
    folder = copied("vit", tmp_path)
    place = folder / "preprocessor_config.json"
    good = json.loads(place.read_text())
    height, width = read_vit(folder).options["picture_size"]
    for changed, told in (
        ({"size": {"height": height, "width": width}, "do_center_crop": False}, ()),
        ({"size": {"shortest_edge": 256}}, ("size {'shortest_edge': 256}: not followed",)),
        ({"do_resize": False}, ("do_resize False: not followed",)),
        ({"do_center_crop": True, "crop_size": 224}, ("do_center_crop True, crop_size 224: not",)),
    ):
        place.write_text(json.dumps({**good, **changed}))
        notes = read_vit(folder).notes
        assert len(notes) == len(told) and all(map(str.startswith, notes, told)), changed
    assert notes[0].endswith(f"whole pictures are resized to {height} x {width}")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cut, with flipped bits in the header, or with another number in it."""
    found, header = bytearray(content), min(len(content), 6000)
    match draw.randrange(3):
        case 0:
            del found[draw.randrange(len(found)) :]
        case 1:
            for _ in range(draw.randrange(1, 4)):
                found[draw.randrange(header)] ^= 1 << draw.randrange(8)
        case _:
            numbers = list(re.finditer(rb"\d+", content[:header]))
            at = draw.choice(numbers)
            others = [b"0", b"-1", b"9" * 20, b"1e400", b"null", b"[]", b"true", b"3.5", b'"x"']
            found[at.start() : at.end()] = draw.choice(others)
    return bytes(found)


def test_damaged_files_are_read_or_refused_by_our_errors(tmp_path: Path):
    folder, draw = copied("dinov2", tmp_path), random.Random(0)
    whole = {path: path.read_bytes() for path in folder.iterdir() if path.stem != "expected"}
    network = network_for(read_vit(folder), np.zeros((1, 32, 32, 3), np.uint8))
    refused = 0
    for _ in range(300):
        path = draw.choice(sorted(whole))
        path.write_bytes(damaged(whole[path], draw))
        try:
            read_vit(folder).inject(blank(network))
        except HeredityError:
            refused += 1
        path.write_bytes(whole[path])
    assert 200 < refused < 300


@pytest.mark.parametrize("value", [None, [], "x", True])
def test_an_epsilon_that_is_no_number_is_refused(tmp_path: Path, value: object):
    folder = copied("vit", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": value}))
    with pytest.raises(RefusedError, match="layer_norm_eps"):
        read_vit(folder)


def test_positions_of_no_square_need_to_be_told(tmp_path: Path):
    tensors = load_file(FIXTURES / "vit" / "model.safetensors")
    name = "embeddings.position_embeddings"
    save_file({**tensors, name: tensors[name][:, :7]}, tmp_path / "model.safetensors")
    with pytest.raises(MismatchError, match="6 patches, which are no square"):
        read_vit(tmp_path, heads=4)
    (tmp_path / "config.json").write_text(json.dumps({"image_size": [16, 24]}))
    assert read_vit(tmp_path, heads=4).options["picture_size"] == (16, 24)
