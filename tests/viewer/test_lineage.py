from typing import Any

from heredity.viewer.lineage import MOST_ROWS, family, rows_of


def entry(operation: str, hash: str, parent: str | None, step: int = 0, **more: Any) -> dict:
    return {"operation": operation, "hash": hash, "parent": parent, "step": step, **more}


def test_two_policies_share_their_ancestors():
    train = entry("train", "a", None)
    tree = family(
        [
            [train, entry("snapshot", "b", "a", 10)],
            [train, entry("snapshot", "c", "a", 20)],
            [train, entry("checkpoint", "c", "a", 20), entry("resume", "c", "c", 20),
             entry("snapshot", "d", "c", 30)],
        ]
    )  # fmt: skip
    assert [root.operation for root in tree] == ["train"]
    assert [(c.operation, c.hash) for c in tree[0].children] == [
        ("snapshot", "b"), ("snapshot", "c"), ("checkpoint", "c"),
    ]  # fmt: skip
    resume = tree[0].children[2].children[0]
    assert resume.operation == "resume"
    assert [c.hash for c in resume.children] == ["d"]


def test_the_line_that_goes_on_keeps_its_lane_and_leaves_hang_beside_it():
    train = entry("train", "a", None)
    rows = rows_of(
        family(
            [
                [train, entry("snapshot", "b", "a", 10)],
                [train, entry("checkpoint", "c", "a", 20), entry("resume", "d", "c", 20)],
            ]
        )
    )
    assert [(r.node.operation, r.lane, r.parent) for r in rows] == [
        ("train", 0, -1), ("snapshot", 1, 0), ("checkpoint", 0, 0), ("resume", 0, 2),
    ]  # fmt: skip


def test_a_snapshot_hangs_on_the_snapshot_before_it_which_it_does_not_carry():
    train = entry("train", "a", None)
    lineages = [[train, entry("snapshot", h, p, s)] for h, p, s in (("b", "a", 1), ("c", "b", 2))]
    rows = rows_of(family([*lineages, [train, entry("snapshot", "e", "d", 4)]]))
    # The one whose parent is not among those shown hangs on the ancestor that is known.
    assert [(r.node.hash, r.parent) for r in rows] == [("a", -1), ("e", 0), ("b", 0), ("c", 2)]


def test_a_parent_that_nobody_recorded_is_told():
    (root,) = family([[entry("inject", "x", "foreign")]])
    assert root.lost_parent == "foreign"


def test_a_hash_that_returns_does_not_make_a_circle():
    again = [entry("train", "a", None), entry("rollback", "a", "a", 5), entry("train", "a", "a", 0)]
    rows = rows_of(family([again]))
    assert [r.node.operation for r in rows] == ["train", "rollback"]


def test_a_long_chain_is_folded_and_its_end_is_kept():
    chain = [entry("train", "0", None)]
    chain += [entry("snapshot", str(i), str(i - 1), i) for i in range(1, 3 * MOST_ROWS)]
    rows = rows_of(family([chain]))
    assert len(rows) == 2
    assert rows[-1].node.step == 3 * MOST_ROWS - 1
    assert rows[-1].node.folded == 3 * MOST_ROWS - 2


def test_entries_of_any_type_are_survived():
    strange = [
        {}, {"operation": 7, "hash": [], "parent": {}, "step": "x", "score": 1, "arguments": []},
    ]  # fmt: skip
    rows = rows_of(family([strange, []]))
    assert [row.node.operation for row in rows] == ["unknown", "7"]


def test_a_snapshot_of_the_first_weights_is_on_the_way_and_no_side_shoot():
    train = entry("train", "a", None)
    lineages = [
        [train, entry("snapshot", "a", "a", 0)],
        [train, entry("snapshot", "b", "a", 10)],
        [train, entry("snapshot", "c", "b", 20)],
    ]
    rows = rows_of(family(lineages))
    assert [(r.node.operation, r.node.step, r.lane) for r in rows] == [
        ("train", 0, 0), ("snapshot", 0, 0), ("snapshot", 10, 0), ("snapshot", 20, 0),
    ]  # fmt: skip
