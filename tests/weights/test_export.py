from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.weights import content_hash, export, inject, write_safetensors
from heredity.weights.rules import LINEAR, SQUEEZED, Rule, conv, linear, norm

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


PARAMS = {
    "encoder": {
        "c": {"kernel": array(5, 4, 3, 2), "bias": array(2)},
        "block_0": {
            "q": array(2, 4),
            "k": array(2, 4),
            "norm": {"scale": array(2), "bias": array(2)},
        },
        "block_10": {
            "q": array(2, 4),
            "k": array(2, 4),
            "norm": {"scale": array(2), "bias": array(2)},
        },
    },
    "head": {"kernel": array(3, 1), "bias": array(1)},
}
RULES = (
    *conv("conv", "encoder/c"),
    Rule("layers.{i}.qk", ("encoder/block_{i}/q", "encoder/block_{i}/k"), LINEAR),
    *norm("layers.{i}.ln", "encoder/block_{i}/norm"),
    *linear("head", "head"),
)


def test_export_is_the_way_back_of_inject(tmp_path: Path):
    arrays, report = export(PARAMS, RULES)
    assert arrays["conv.weight"].shape == (2, 3, 5, 4)
    assert arrays["layers.10.qk"].shape == (8, 2)
    assert report.guarantee.kind == "exact" and report.coverage == 1.0
    write_safetensors(tmp_path / "model.safetensors", arrays)
    read = load_file(tmp_path / "model.safetensors")
    fresh = {
        "encoder": {name: _zeros(part) for name, part in PARAMS["encoder"].items()},
        "head": _zeros(PARAMS["head"]),
    }
    params, _ = inject(fresh, read, RULES)
    assert content_hash(params) == content_hash(PARAMS)


def _zeros(tree):
    return {k: _zeros(v) if isinstance(v, dict) else np.zeros_like(v) for k, v in tree.items()}


def test_without_rules_names_stay():
    arrays, _ = export(PARAMS, out_of="encoder/block_0")
    assert sorted(arrays) == ["k", "norm/bias", "norm/scale", "q"]
    params, _ = inject(_zeros(PARAMS), arrays, into="encoder/block_0")
    assert content_hash(params["encoder"]["block_0"]) == content_hash(PARAMS["encoder"]["block_0"])


def test_names_have_the_separators_of_their_rule():
    params = {"a": {"b": np.zeros(1)}}
    for source, name in (
        ("model/{*path}", "model/a/b"),
        ("model.{*path}", "model.a.b"),
        ("{*path}", "a/b"),
    ):
        arrays, _ = export(params, [Rule(source, "{*path}")])
        assert list(arrays) == [name]
        back, _ = inject(params, arrays, [Rule(source, "{*path}")])
        assert list(back["a"]) == ["b"]


def test_joined_sources_are_split_again():
    rule = Rule(("a", "b"), "ab")
    arrays, _ = export({"ab": np.arange(4)}, [rule])
    assert arrays["a"].tolist() == [0, 1] and arrays["b"].tolist() == [2, 3]
    with pytest.raises(MismatchError, match="cannot be brought back"):
        export({"ab": np.arange(3)}, [rule])


def test_what_gets_no_name_is_an_error_unless_allowed():
    with pytest.raises(MismatchError, match="head/bias matches no rule; head/kernel matches no"):
        export(PARAMS, RULES[:-2])
    arrays, report = export(PARAMS, RULES[:-2], allow=("head/**",))
    assert report.counts()["dropped"] == 2 and "head.weight" not in arrays
    with pytest.raises(UnknownNameError, match="haed"):
        export(PARAMS, RULES, allow=("haed/**",))
    with pytest.raises(MismatchError, match="cannot be undone"):
        export({"t": array(3)}, [Rule("token", "t", SQUEEZED)])
    with pytest.raises(MismatchError, match="belongs to k, which there is not"):
        export({"q": array(2, 2)}, [Rule("qk", ("q", "k"))])
    with pytest.raises(MismatchError, match="which is another one already"):
        export({"a": array(1), "b": array(1)}, [Rule("x", "a"), Rule("x", "b")])
    with pytest.raises(MismatchError, match="no weights to export"):
        export({})


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(UsageError, match="is a folder"):
        write_safetensors(tmp_path, {"a": array(1)})
