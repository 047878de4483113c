"""The family tree of a run's policies: from lineage entries to rows of a drawing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from heredity.viewer.reading import Score, number

# More rows than this are folded: long chains of snapshots that nobody continued from.
MOST_ROWS = 60
# Operations that only note how weights were, rather than begin something new.
NOTED = ("snapshot", "checkpoint")


@dataclasses.dataclass
class Node:
    """One thing that happened to the weights.

    Args:
        operation: What it was: ``train``, ``snapshot``, ``resume`` …
        hash: Content hash of the weights after it.
        step: Environment steps they had been trained for.
        run: Id of the run it happened in.
        time: When, ISO 8601.
        score: What the weights scored, if it was measured.
        arguments: What the operation was told.
        children: What was made from it.
        folded: How many ancestors between its parent and itself are not drawn.
        lost_parent: Hash of a parent that nobody recorded; empty if it is known or there is none.
    """

    operation: str
    hash: str
    step: int
    run: str
    time: str
    score: Score | None
    arguments: dict[str, Any]
    children: list[Node] = dataclasses.field(default_factory=list)
    folded: int = 0
    lost_parent: str = ""


def family(lineages: Iterable[Sequence[dict[str, Any]]]) -> list[Node]:
    """The roots of the tree that several lineages make together.

    An entry hangs on the newest one before it whose hash is its `parent`: of its own lineage, or
    of an earlier one, because a policy does not carry the snapshots that were taken before it (one
    of an earlier lineage is preferred when it was noted of the same weights in between). If
    there is none, it hangs on the entry before it, which is its nearest ancestor that is known.

    Args:
        lineages: The entries of each policy, from the beginning to now.
    """
    nodes: dict[tuple[str, str, int, str], Node] = {}
    by_hash: dict[str, Node] = {}
    above: dict[int, Node | None] = {}
    roots: list[Node] = []
    for entries in lineages:
        before: list[Node] = []
        for entry in entries:
            node = _node(entry)
            key = (node.operation, node.hash, node.step, node.run)
            if key in nodes:
                before.append(nodes[key])
                continue
            nodes[key] = node
            parent = str(entry.get("parent") or "")
            found = next((b for b in reversed(before) if parent and b.hash == parent), None)
            # Only nodes that are there already are looked up, so that no circle can arise.
            newest = by_hash.get(parent)
            if found is None or _only_noted(newest, found, above):
                found = newest or (before[-1] if before else None)
            if found is None:
                node.lost_parent = parent
            (found.children if found else roots).append(node)
            above[id(node)] = found
            if node.hash:
                by_hash[node.hash] = node
            before.append(node)
    for node in nodes.values():
        node.children.sort(key=lambda child: (child.step, child.time))
    if len(nodes) > MOST_ROWS:
        for root in roots:
            _fold(root)
    return roots


def _only_noted(newest: Node | None, found: Node, above: Mapping[int, Node | None]) -> bool:
    """Whether `newest` was noted of the very weights of `found`, and nothing began in between.

    A snapshot at the beginning of a run has the hash of what it was taken of; what comes next goes
    on from it, although a later policy's own lineage does not carry it.
    """
    node = newest
    while node is not None and node is not found:
        if node.operation not in NOTED or node.hash != found.hash:
            return False
        node = above.get(id(node))
    return node is found


def _node(entry: dict[str, Any]) -> Node:
    arguments = entry.get("arguments")
    return Node(
        operation=str(entry.get("operation") or "unknown"),
        hash=str(entry.get("hash") or ""),
        step=int(number(entry.get("step")) or 0),
        run=str(entry.get("run") or ""),
        time=str(entry.get("time") or ""),
        score=Score.from_json(entry.get("score")),
        arguments=arguments if isinstance(arguments, dict) else {},
    )


def _fold(root: Node) -> None:
    """Leave out what was only noted on the way to something else."""
    pending = [root]
    while pending:
        node = pending.pop()
        for index, child in enumerate(node.children):
            shown = child
            while shown.operation in NOTED and len(shown.children) == 1:
                folded = shown.folded + 1
                shown = shown.children[0]
                shown.folded += folded
            node.children[index] = shown
        pending += node.children


@dataclasses.dataclass(frozen=True)
class Row:
    """A node and where it is drawn.

    Args:
        node: What is told in the row.
        lane: Its column, counted from the left.
        parent: Number of its parent's row; -1 for a root.
    """

    node: Node
    lane: int
    parent: int


def rows_of(roots: Sequence[Node]) -> list[Row]:
    """The tree from top to bottom, each row with its lane.

    The child with the most descendants goes on in its parent's lane, below everything else of the
    parent's, so that no two lines cross; a child that nobody continued from is one lane further.
    """
    sizes: dict[int, int] = {}
    order: list[Node] = []
    pending = list(roots)
    while pending:
        node = pending.pop()
        order.append(node)
        pending += node.children
    for node in reversed(order):
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in node.children)
    rows: list[Row] = []
    stack = [(root, 0, -1) for root in reversed(roots)]
    while stack:
        node, lane, parent = stack.pop()
        own = len(rows)
        rows.append(Row(node, lane, parent))
        if not node.children:
            continue
        heir = max(node.children, key=lambda child: (sizes[id(child)], child.step))
        goes_on = sizes[id(heir)] > 1 or len(node.children) == 1
        others = [child for child in node.children if not (goes_on and child is heir)]
        if goes_on:
            stack.append((heir, lane, own))
        stack += [(child, lane + 1, own) for child in reversed(others)]
    return rows
