import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.weights import content_hash, flatten, inject
from heredity.weights.report import EXACT, ROUNDING
from heredity.weights.rules import LINEAR, SQUEEZED, Rule, conv, drop, linear

RANDOM = np.random.default_rng(0)


def array(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RANDOM.normal(size=shape).astype(dtype)


FRESH = {
    "encoder": {"fc": {"kernel": array(2, 3), "bias": array(3)}},
    "head": {"kernel": array(3, 1)},
    "count": np.array([0, 7], np.uint32),
}
FILE = {"fc.weight": array(3, 2), "fc.bias": array(3)}


def test_an_encoder_is_injected_and_the_rest_is_kept():
    before = content_hash(FRESH)
    params, report = inject(FRESH, FILE, linear("fc", "fc"), into="encoder")
    np.testing.assert_array_equal(params["encoder"]["fc"]["kernel"], FILE["fc.weight"].T)
    np.testing.assert_array_equal(params["encoder"]["fc"]["bias"], FILE["fc.bias"])
    assert content_hash(FRESH) == before, "the weights given stay as they are"
    assert content_hash({"h": params["head"]}) == content_hash({"h": FRESH["head"]})
    actions = {row.path: row.action for row in report.rows}
    assert actions == {
        "count": "kept",
        "encoder/fc/bias": "copied",
        "encoder/fc/kernel": "transposed",
        "head/kernel": "kept",
    }
    assert report.guarantee == EXACT and report.coverage == 9 / 14
    assert report.rows[2].source == "fc.weight" and report.rows[2].source_shape == (3, 2)


def test_the_result_shares_no_memory_with_the_source():
    file = {name: value.copy() for name, value in FILE.items()}
    params, _ = inject(FRESH, file, linear("fc", "fc"), into="encoder")
    before = content_hash(params)
    for value in file.values():
        value[...] = 7
    assert content_hash(params) == before
    assert all(leaf.flags.c_contiguous for leaf in flatten(params["encoder"]).values())


def test_the_same_names_need_no_rules():
    params, report = inject(FRESH, FRESH)
    assert content_hash(params) == content_hash(FRESH) and report.coverage == 1.0
    params, _ = inject({"a": {"b": np.zeros(1)}}, {"a": {"b": np.ones(1)}})
    assert params["a"]["b"] == 1


def test_fused_weights_are_split_and_separate_ones_joined():
    q, k, v = (array(4, 2) for _ in range(3))
    fresh = {name: np.zeros((2, 4), np.float32) for name in "qkv"}
    split = Rule("in_proj", ("q", "k", "v"), LINEAR)
    params, report = inject(fresh, {"in_proj": np.concatenate([q, k, v])}, [split])
    np.testing.assert_array_equal(params["k"], k.T)
    assert report.rows[1].note.endswith("one of 3 parts")
    joined = Rule(("q", "k", "v"), "qkv", LINEAR)
    params, report = inject(
        {"qkv": np.zeros((2, 12), np.float32)}, {"q": q, "k": k, "v": v}, [joined]
    )
    np.testing.assert_array_equal(params["qkv"], np.concatenate([q, k, v]).T)
    assert report.rows[0].source == "q + k + v"


def test_convolutions_and_axes_of_length_one():
    fresh = {"c": {"kernel": np.zeros((5, 4, 3, 2), np.float32)}, "token": np.zeros(6, np.float32)}
    file = {"c.weight": array(2, 3, 5, 4), "token": array(1, 1, 6)}
    rules = [*conv("c", "c", bias=False), Rule("token", "token", SQUEEZED)]
    params, _ = inject(fresh, file, rules)
    assert params["c"]["kernel"][4, 3, 2, 1] == file["c.weight"][1, 2, 4, 3]
    np.testing.assert_array_equal(params["token"], file["token"][0, 0])


@pytest.mark.parametrize(
    ("dtype", "guarantee"),
    [("float16", EXACT), (ml_dtypes.bfloat16, EXACT), ("float64", ROUNDING)],
)
def test_casts_are_told_and_rounding_too(dtype, guarantee):
    file = {"a": np.array([0.1, -3.0]).astype(dtype)}
    params, report = inject({"a": np.zeros(2, np.float32)}, file)
    np.testing.assert_array_equal(params["a"], file["a"].astype(np.float32))
    assert params["a"].dtype == np.float32
    assert (report.rows[0].action, report.guarantee) == ("cast", guarantee)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_split_inverts_join(parts: int, rows: int, columns: int):
    pieces = {f"p{i}": np.random.default_rng(i).normal(size=(rows, columns)) for i in range(parts)}
    names = tuple(pieces)
    whole, _ = inject({"w": np.zeros((parts * rows, columns))}, pieces, [Rule(names, "w")])
    back, _ = inject(pieces, whole, [Rule("w", names)])
    assert content_hash(back) == content_hash(pieces)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({**FILE, "odd": array(1)}, "odd of the source matches no rule"),
        ({"fc.weight": FILE["fc.weight"]}, "encoder/fc/bias gets nothing"),
        ({**FILE, "fc.bias": array(4)}, r"fc.bias to encoder/fc/bias: shape \[4\], \[3\] was"),
        ({**FILE, "fc.weight": array(2, 3)}, r"shape \[3, 2\], \[2, 3\] was expected"),
        ({**FILE, "fc.weight": array(6)}, r"of shape \[6\] cannot go from \(out, in\)"),
        ({**FILE, "fc.bias": np.array([1, 2, np.nan], np.float32)}, "has NaN or infinite"),
        ({**FILE, "fc.bias": np.full(3, 1e300)}, "too large for float32"),
        ({**FILE, "fc.bias": np.arange(3)}, "int64 cannot become float32"),
        ({**FILE, "fc.bias": np.array(["a", "b", "c"])}, "cannot become float32"),
        ({**FILE, "other.weight": array(3, 2)}, "other.weight would become encoder/other/kernel"),
    ],
)
def test_what_does_not_fit_is_an_error(source: dict, told: str):
    with pytest.raises(MismatchError, match=told):
        inject(FRESH, source, linear("{name}", "{name}"), into="encoder")


def test_wrong_whole_numbers_are_errors():
    for value in (np.array([-1, 7]), np.array([0, 2**33])):
        with pytest.raises(MismatchError, match="numbers of int64 do not fit uint32"):
            inject({"count": FRESH["count"]}, {"count": value})
    # These become themselves again when they are cast back.
    for values, theirs, ours in (
        ([-1, 5], "i4", "u4"),
        ([200, 5], "u1", "i1"),
        ([2, 0], "u1", "?"),
    ):
        with pytest.raises(MismatchError, match="do not fit"):
            inject({"count": np.zeros(2, ours)}, {"count": np.array(values, theirs)})
    params, report = inject({"count": np.zeros(2, "u4")}, {"count": np.array([0, 5], "i4")})
    assert params["count"].tolist() == [0, 5] and report.guarantee == EXACT


def test_allow_names_what_may_differ():
    file = {**FILE, "fc.bias": array(4), "head.weight": array(1000, 3)}
    params, report = inject(
        FRESH, file, linear("fc", "fc"), into="encoder", allow=("fc/bias", "head.*")
    )
    assert params["encoder"]["fc"]["bias"] is FRESH["encoder"]["fc"]["bias"]
    rows = {row.path: row for row in report.rows}
    assert rows["encoder/fc/bias"].action == "kept"
    assert rows["fc.bias"].action == "dropped" and "[4]" in rows["fc.bias"].note
    assert rows["head.weight"].source_shape == (1000, 3) and rows["head.weight"].size == 0
    with pytest.raises(UnknownNameError, match=r"unknown weights pattern 'haed.\*'"):
        inject(FRESH, file, linear("fc", "fc"), into="encoder", allow=("haed.*",))
    with pytest.raises(UnknownNameError, match="unknown folder of weights 'encodr'"):
        inject(FRESH, FILE, linear("fc", "fc"), into="encodr")
    with pytest.raises(UsageError, match="give a list of patterns"):
        inject(FRESH, FILE, linear("fc", "fc"), into="encoder", allow="**")


def test_donated_arrays_become_the_new_weights():
    kernel = array(20, 3)
    params = {"fc": {"kernel": np.zeros((3, 20), np.float32), "bias": jnp.zeros(3)}}
    memory = params["fc"]["kernel"]
    source = {"fc.weight": kernel, "fc.bias": np.ones(3, np.float32)}
    made, _ = inject(params, source, linear("fc", "fc"), donate=True)
    assert made["fc"]["kernel"] is memory
    np.testing.assert_array_equal(memory, kernel.T)
    np.testing.assert_array_equal(made["fc"]["bias"], np.ones(3))
    swapped = {"a": np.zeros(3, np.float32), "b": np.ones(3, np.float32)}
    with pytest.raises(UsageError, match="a of the source is in the memory of a"):
        inject(swapped, swapped, donate=True)
    with pytest.raises(UsageError, match="in the memory of b"):
        inject(swapped, {"c": swapped["b"][::-1]}, rules=[Rule("c", "a")], allow=["b"], donate=True)
    tied = np.zeros(3, np.float32)
    for params in ({"a": tied, "b": tied}, {"a": tied[:2], "b": tied[1:]}):
        with pytest.raises(UsageError, match="a and b are in one memory"):
            inject(params, {"a": np.ones(2, "f4"), "b": np.ones(2, "f4")}, donate=True)
    with pytest.raises(UsageError, match="a and b/c are in one memory"):
        inject({"a": tied, "b": {"c": tied}}, {"c": np.ones(3, "f4")}, into="b", donate=True)
    halves = {"a": tied[:1], "b": tied[1:]}
    inject(halves, {"a": np.ones(1, "f4"), "b": np.full(2, 2, "f4")}, donate=True)
    assert tied.tolist() == [1, 2, 2]


def test_large_numbers_are_numbers():
    large = {"a": np.full(4, 3e38, np.float32)}
    assert inject({"a": np.zeros(4, np.float32)}, large)[0]["a"][0] == np.float32(3e38)
    with pytest.raises(MismatchError, match="NaN or infinite"):
        inject({"a": np.zeros(2, np.float32)}, {"a": np.array([np.inf, -np.inf], np.float32)})


def test_nothing_used_is_always_an_error():
    with pytest.raises(MismatchError, match="nothing of the source was used: it has a; b"):
        inject(FRESH, {"a": array(1), "b": array(1)}, drop("{x}"), allow=("**",))
    with pytest.raises(MismatchError, match="nothing of the source was used"):
        inject(FRESH, {}, allow=("**",))


def test_what_is_no_source_and_no_rule_is_told():
    with pytest.raises(UsageError, match="arrays by name were expected"):
        inject(FRESH, [1.0])  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="a list of Rule was expected"):
        inject(FRESH, FILE, Rule("a", "b"))  # pyright: ignore[reportArgumentType]
    for wrong in ({"source": 3}, {"source": "a", "layout": "linear"}, {"source": ("a", "")}):
        with pytest.raises(UsageError, match="rule"):
            Rule(**wrong)
