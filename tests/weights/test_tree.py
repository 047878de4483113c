import itertools
import os
import subprocess
import sys

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.weights import (
    content_hash,
    count,
    find,
    flatten,
    folders,
    get,
    merge,
    partition,
    put,
    select,
    subtree,
    to_host,
    unflatten,
)

PARAMS = {
    "actor": {
        "hidden_0": {"kernel": np.ones((3, 4), np.float32), "bias": np.zeros(4, np.float32)},
        "hidden_10": {"kernel": np.ones((4, 4), np.float32), "bias": np.zeros(4, np.float32)},
        "output": {"kernel": np.ones((4, 2), np.float32), "bias": np.zeros(2, np.float32)},
        "log_std": np.zeros(2, np.float32),
    },
    "critic": {"output": {"kernel": np.ones((3, 1), np.float32)}},
    "normalizer": {"observation": {"count": np.array([0, 7], np.uint32)}},
}
PATHS = list(flatten(PARAMS))

names = st.text("ab_0*?", min_size=1, max_size=3)
trees = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=12,
).filter(lambda tree: isinstance(tree, dict))


# --- flatten and unflatten ------------------------------------------------------------------------


@given(trees)
def test_unflatten_inverts_flatten(tree: dict):
    assert unflatten(flatten(tree)) == tree
    # Sorted folder by folder, whatever the order of insertion.
    assert list(flatten(tree)) == list(flatten(dict(reversed(tree.items()))))


def test_the_order_is_that_of_the_paths():
    assert list(flatten({"b": 1, "a": {"d": 2, "c": 3}})) == ["a/c", "a/d", "b"]
    assert flatten({}) == {} and unflatten({}) == {}


@pytest.mark.parametrize("key", ["", "a/b", 1, None])
def test_a_key_is_a_name(key: object):
    with pytest.raises(UsageError, match="a name without '/' expected"):
        flatten({"outer": {key: 1}})


@pytest.mark.parametrize(
    "leaves",
    [{"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}, {"a/b": 1, "a/b/c": 2}, {"a/b/c": 1, "a/b": 2}],
)
def test_a_path_is_leaf_or_folder(leaves: dict):
    with pytest.raises(UsageError, match="a"):
        unflatten(leaves)


# --- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["**"], set(PATHS)),
        (["actor/log_std"], {"actor/log_std"}),
        (["actor/*"], {"actor/log_std"}),
        (["*/output/kernel"], {"actor/output/kernel", "critic/output/kernel"}),
        (["**/output/**"], {"actor/output/kernel", "actor/output/bias", "critic/output/kernel"}),
        (["**/bias"], {f"actor/{n}/bias" for n in ("hidden_0", "hidden_10", "output")}),
        (["actor/hidden_?/bias"], {"actor/hidden_0/bias"}),
        (["actor/hidden_*/bias"], {"actor/hidden_0/bias", "actor/hidden_10/bias"}),
        (["critic/**"], {"critic/output/kernel"}),
        (["normalizer/**/count"], {"normalizer/observation/count"}),
        (["actor/**", "!**/bias", "!actor/log_std", "!actor/hidden_10/**"],
         {"actor/hidden_0/kernel", "actor/output/kernel"}),
        (["critic/**", "!critic/**", "critic/**"], {"critic/output/kernel"}),
        ([], set()),
    ],
)  # fmt: skip
def test_patterns(patterns: list[str], expected: set[str]):
    assert select(PATHS, patterns) == expected


def test_a_star_does_not_cross_folders_and_dots_are_dots():
    paths = ["a.b/c", "aXb/c", "a/b/c", "a"]
    assert select(paths, ["a.b/*"]) == {"a.b/c"}
    assert select(paths, ["*"]) == {"a"}
    assert select(paths, ["*/c"]) == {"a.b/c", "aXb/c"}
    assert select(paths, ["**/c"]) == {"a.b/c", "aXb/c", "a/b/c"}
    assert select(paths, ["a/**"]) == {"a", "a/b/c"}
    assert select(["a[0]/w", "a0/w"], ["a[0]/w"]) == {"a[0]/w"}


@pytest.mark.parametrize("pattern", ["actor/hiden_0/**", "!critic/output/bais", "", "Actor/**"])
def test_a_pattern_that_matches_nothing_names_the_nearest(pattern: str):
    with pytest.raises(UnknownNameError, match="weights pattern") as raised:
        select(PATHS, ["**", pattern])
    assert repr(pattern) in str(raised.value)
    assert "actor/hidden_0/bias" in str(raised.value)


def test_partition_and_merge_are_inverse():
    chosen, rest = partition(PARAMS, ["actor/hidden_0/**", "normalizer/**"])
    assert set(flatten(chosen)) == {
        "actor/hidden_0/bias", "actor/hidden_0/kernel", "normalizer/observation/count",
    }  # fmt: skip
    assert set(flatten(chosen)) | set(flatten(rest)) == set(PATHS)
    assert set(flatten(chosen)).isdisjoint(flatten(rest))
    assert content_hash(merge(rest, chosen)) == content_hash(PARAMS)
    assert all(flatten(merge(chosen, rest))[path] is leaf for path, leaf in flatten(PARAMS).items())


def test_merge_refuses_a_leaf_that_is_there_twice():
    with pytest.raises(UsageError, match=r"'a/b' is in two"):
        merge({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}})
    with pytest.raises(UsageError):
        merge({"a": 1}, {"a": {"b": 1}})
    assert merge() == {}


# --- hashes and copies ----------------------------------------------------------------------------


def test_the_hash_depends_on_path_dtype_shape_and_value_alone():
    value = np.array([[1.0, 2.0]], np.float32)
    base = {"a": {"b": value, "c": np.float32(0)}}
    same = [
        {"a": {"c": np.float32(0), "b": value}},
        {"a": {"b": jnp.asarray(value), "c": jnp.float32(0)}},
        {"a": {"b": np.asfortranarray(value), "c": np.zeros((), np.float32)}},
        {"a": {"b": value.astype(">f4"), "c": np.float32(0)}},
        {"a/b": value, "a/c": np.float32(0)},
    ]
    assert {content_hash(unflatten(flatten_loose(tree))) for tree in same} == {content_hash(base)}
    other = [
        {"a": {"B": value, "c": np.float32(0)}},
        {"a": {"b": value}},
        {"a": {"b": value.T, "c": np.float32(0)}},
        {"a": {"b": value[0], "c": np.float32(0)}},
        {"a": {"b": value.view(np.int32), "c": np.float32(0)}},
        {"a": {"b": value, "c": np.float32(-0.0)}},
        {"a": {"b": np.nextafter(value, 9), "c": np.float32(0)}},
        {"a": {"b": value, "c": np.zeros(1, np.float32)}},
        {"b": value, "c": np.float32(0)},
        {},
    ]
    hashes = [content_hash(tree) for tree in [base, *other]]
    assert len(set(hashes)) == len(hashes)


def flatten_loose(tree: dict) -> dict:
    """As `flatten`, for trees whose keys may be whole paths."""
    return tree if any("/" in name for name in tree) else flatten(tree)


def test_every_value_counts():
    seen = {content_hash(PARAMS)}
    for path, leaf in flatten(PARAMS).items():
        for index in itertools.islice(np.ndindex(leaf.shape), 5):
            moved = leaf.copy()
            moved[index] += 1
            seen.add(content_hash(unflatten(flatten(PARAMS) | {path: moved})))
    assert len(seen) == 1 + sum(min(leaf.size, 5) for leaf in flatten(PARAMS).values())


def test_the_hash_is_the_same_in_every_process():
    code = (
        "import numpy as np; from heredity.weights import content_hash\n"
        "names = {'actor', 'critic', 'normalizer', 'x', 'y', 'z'}\n"
        "print(content_hash({n: {'w': np.arange(3.0)} for n in names}))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_host_copies_outlive_donated_buffers():
    step = jax.jit(lambda p: jax.tree.map(lambda leaf: leaf + 1, p), donate_argnums=0)
    params = {"a": jnp.zeros(1000), "b": {"c": jnp.ones(3)}}
    kept = to_host(params)
    before = {path: leaf.copy() for path, leaf in kept.items()}
    for _ in range(3):
        params = step(params)
    assert list(kept) == ["a", "b/c"]
    for path, leaf in kept.items():
        assert leaf.flags.owndata and not leaf.flags.writeable
        np.testing.assert_array_equal(leaf, before[path])
    ours = {"a": np.zeros(3)}
    assert to_host(ours)["a"] is not ours["a"]


def test_count():
    assert count(PARAMS) == 12 + 4 + 16 + 4 + 8 + 2 + 2 + 3 + 2
    assert count({}) == 0 and count({"a": np.float32(1)}) == 1


# --- one leaf, one folder -------------------------------------------------------------------------


def test_a_pattern_that_takes_nothing_out_is_an_error():
    for before in ([], ["critic/**"], ["actor/**", "!actor/**"]):
        with pytest.raises(UsageError, match=r"'!actor/\*\*' takes nothing out"):
            find(PARAMS, *before, "!actor/**")
    assert select(flatten(PARAMS), ["!actor/**"], idle=True) == frozenset()


def test_find_gives_what_the_patterns_choose():
    found = find(PARAMS, "actor/**", "!**/bias")
    assert list(found) == [
        "actor/hidden_0/kernel",
        "actor/hidden_10/kernel",
        "actor/log_std",
        "actor/output/kernel",
    ]
    assert found["actor/log_std"] is PARAMS["actor"]["log_std"]
    with pytest.raises(UnknownNameError, match="did you mean"):
        find(PARAMS, "actor/hiden_0/kernel")


def test_get_makes_what_is_absent_and_put_keeps_it():
    assert get(PARAMS, "actor/log_std") is PARAMS["actor"]["log_std"]
    made = get(PARAMS, "actor/scale", lambda: np.ones(2))
    longer = put(PARAMS, "actor/scale", made)
    assert get(longer, "actor/scale") is made
    assert set(flatten(longer)) - set(PATHS) == {"actor/scale"} and list(flatten(PARAMS)) == PATHS
    with pytest.raises(UnknownNameError, match="did you mean 'actor/log_std'"):
        get(PARAMS, "actor/logstd")


def test_put_replaces_only_by_the_same_shape_and_dtype():
    changed = put(PARAMS, "actor/log_std", np.ones(2, np.float32))
    assert changed["actor"]["log_std"].sum() == 2 and PARAMS["actor"]["log_std"].sum() == 0
    for value in (np.ones(3, np.float32), np.ones(2, np.float64), 1.0):
        with pytest.raises(MismatchError, match=r"actor/log_std is float32\[2\]"):
            put(PARAMS, "actor/log_std", value)
    with pytest.raises(UsageError, match="'actor/output' is a folder"):
        put(PARAMS, "actor/output", np.ones(1))
    with pytest.raises(UsageError, match="passes through a leaf"):
        put(PARAMS, "actor/log_std/deeper", np.ones(1))


def test_subtree_gives_a_folder():
    assert subtree(PARAMS, "critic/output") == PARAMS["critic"]["output"]
    assert subtree(PARAMS, "") == PARAMS
    for wrong in ("actor/log_std", "actr", "actor/", "/"):
        with pytest.raises(UnknownNameError, match="unknown folder of weights"):
            subtree(PARAMS, wrong)
    assert folders(PARAMS)[:3] == ("actor", "actor/hidden_0", "actor/hidden_10")


def test_other_types_are_told_in_our_words():
    params = {"actor": {"bias": np.zeros(2)}}
    for call in (
        lambda: find(params, 3),  # pyright: ignore[reportArgumentType]
        lambda: find(None, "**"),  # pyright: ignore[reportArgumentType]
        lambda: subtree(params, 3),  # pyright: ignore[reportArgumentType]
        lambda: put(params, "actor/bias", "text"),
        lambda: partition(params, "actor/**"),
    ):
        with pytest.raises(UsageError, match="expected"):
            call()
