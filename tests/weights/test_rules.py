import pytest

from heredity.common.errors import UsageError
from heredity.weights.rules import LINEAR, Rule, conv, drop, linear, norm, resolve


def test_captures_are_parts_and_stars_are_several():
    rule = Rule("encoder.{i}.{name}.weight", "block_{i}/{name}/kernel")
    assert rule.match("encoder.10.fc.weight") == {"i": "10", "name": "fc"}
    assert rule.match("encoder.10.a.b.weight") is None
    assert rule.match("encoder.10.fcXweight") is None  # a dot is a dot
    star = Rule("module.{*rest}", "{*rest}")
    assert star.match("module.a.b") == {"rest": "a.b"}
    assert star.paths({"rest": "a.b"}) == ("a/b",)
    twice = Rule("{name}.{name}", "{name}")
    assert twice.match("a.a") == {"name": "a"} and twice.match("a.b") is None


def test_the_first_rule_that_matches_decides():
    rules = [*drop("head.{*rest}"), *linear("{name}", "{name}")]
    found = resolve(rules, ["head.weight", "fc.weight", "fc.bias", "odd"])
    assert [(move.names, move.paths) for move in found.moves] == [
        (("fc.bias",), ("fc/bias",)),
        (("fc.weight",), ("fc/kernel",)),
    ]
    assert found.moves[1].rule.layout is LINEAR
    assert found.left_out == ("head.weight",) and found.unmatched == ("odd",)


def test_one_source_is_not_used_by_two_rules():
    rules = [Rule("k", "key"), Rule(("q", "k"), "qk")]
    with pytest.raises(UsageError, match=r"k is used by the rule k -> key already"):
        resolve(rules, ["q", "k"])


def test_joined_sources_go_before_later_rules():
    rules = [Rule(("q", "k"), "qk"), Rule("{*name}", "{*name}")]
    found = resolve(rules, ["k", "q", "other"])
    assert [move.names for move in found.moves] == [("other",), ("q", "k")]


def test_joined_sources_are_taken_together():
    joined = Rule(("{i}.q", "{i}.k", "{i}.v"), "block_{i}/qkv")
    found = resolve([joined], ["0.q", "0.k", "0.v"])
    assert found.moves[0].names == ("0.q", "0.k", "0.v") and not found.unmatched
    with pytest.raises(UsageError, match=r"0.q is there, 0.v is not"):
        resolve([joined], ["0.q", "0.k"])


def test_contradictions_are_errors():
    with pytest.raises(UsageError, match=r"both a\.x and b\.x would become c"):
        resolve([Rule("{name}.x", "c")], ["a.x", "b.x"])
    with pytest.raises(UsageError, match=r"uses \['j'\], 'a.\{i\}' captures \['i'\]"):
        Rule("a.{i}", "b/{j}")
    with pytest.raises(UsageError, match="one of several sources and targets"):
        Rule(("a", "b"), ("c", "d"))


def test_the_layers_of_torch():
    assert [str(rule) for rule in (*conv("c", "d", bias=False), *norm("n", "m"))] == [
        "c.weight -> d/kernel",
        "n.weight -> m/scale",
        "n.bias -> m/bias",
    ]
    assert str(drop("x")[0]) == "x -> (left out)"
