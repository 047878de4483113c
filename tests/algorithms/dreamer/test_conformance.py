"""One and three updates of ours beside those of the official DreamerV3; see `reference`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.dreamer.reference import CASES, Case, Weights, load_case

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.config import SIZES, DreamerConfig
from heredity.algorithms.dreamer.losses import Batch
from heredity.algorithms.dreamer.networks import policy_spec
from heredity.algorithms.dreamer.returns import ReturnRange
from heredity.algorithms.dreamer.state import DreamerState
from heredity.networks.world_model import State
from heredity.policies import ActorCritic
from heredity.policies.importers.dreamerv3_names import our_weights
from heredity.spaces import Box, Dict, Discrete, Space
from heredity.weights import flatten

NAMES = {
    "rew": "reward",
    "con": "continue",
    "dyn": "dynamics",
    "rep": "representation",
    "policy": "actor",
    "value": "critic",
    "repval": "replayed_critic",
}


def space_of(described: dict) -> Space:
    if "classes" in described:
        return Discrete(described["classes"])
    low, high = (0, 255) if described["dtype"] == "uint8" else (-np.inf, np.inf)
    return Box(tuple(described["shape"]), low, high, described["dtype"])


class Ours:
    """Our algorithm with the sizes, weights and batch of a case."""

    def __init__(self, case: Case, **changed: Any) -> None:
        rssm, encoder = case.agent["dyn"]["rssm"], case.agent["enc"]["simple"]
        seen = {n: space_of(s) for n, s in case.spaces.items() if n != "action"}
        action = space_of(case.spaces["action"])
        if isinstance(action, Box):
            action = Box(action.shape, -1, 1)
        self.deter = rssm["deter"]
        config = DreamerConfig(
            deter=rssm["deter"],
            groups=rssm["stoch"],
            classes=rssm["classes"],
            blocks=rssm["blocks"],
            hidden=rssm["hidden"],
            units=encoder["units"],
            depth=encoder["depth"],
            imagination_length=case.agent["imag_length"],
            learning_rate=case.agent["opt"]["lr"],
            learning_rate_warmup=case.agent["opt"]["warmup"],
            **changed,
        )
        self.algorithm = Dreamer(config, Dict(seen), action)
        family = self.algorithm.functions.family
        if case.noise:
            shifted = jnp.float32(case.noise)
            family.mode = lambda parameters: family.draw(parameters, shifted)
        state = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(self.algorithm.init, 0)[1],
        )
        self.state = dataclasses.replace(
            state,
            params=self.weights(case.before.params),
            slow_critic=self.weights(case.before.slow_value)["critic"],
            return_range=ReturnRange(
                jnp.float32(case.before.return_low), jnp.float32(case.before.return_high)
            ),
        )
        self.batch = self._batch(case, seen)

    def weights(self, official: dict[str, np.ndarray]) -> dict:
        return jax.tree.map(jnp.asarray, our_weights(official, self.deter))

    def check(self, state: DreamerState, after: Weights) -> None:
        """See that everything is as it was there after an update."""
        same(state.return_range.low, np.float32(after.return_low))
        same(state.return_range.high, np.float32(after.return_high))
        for path, leaf in flatten(self.weights(after.slow_value)["critic"]).items():
            same(flatten(state.slow_critic)[path], np.asarray(leaf))
        for path, leaf in flatten(self.weights(after.params)).items():
            same(flatten(state.params)[path], np.asarray(leaf), 2e-4)

    def _batch(self, case: Case, seen: dict[str, Space]) -> Batch:
        family = self.algorithm.functions.family
        records = {n: jnp.swapaxes(jnp.asarray(a), 0, 1) for n, a in case.batch.items()}
        rest = {name: array[1:] for name, array in records.items()}
        return Batch(
            observations={name: rest[name] for name in seen},
            actions=family.features(records["action"][:-1]),
            rewards=rest["reward"],
            is_first=rest["is_first"],
            is_last=rest["is_last"],
            is_terminal=rest["is_terminal"],
            context=State(records["dyn/deter"][0], records["dyn/stoch"][0]),
        )


# Of continuous actions the case with noise says more: at the mean densities have no slope.
@pytest.fixture(scope="module", params=[name for name in CASES if name != "vector_continuous"])
def both(request: pytest.FixtureRequest) -> tuple[Case, Ours]:
    case = load_case(request.param)
    return case, Ours(case)


def same(ours: object, theirs: Any, tolerance: float = 1e-4) -> None:
    """Equal up to a share of the largest number of the array."""
    largest = max(float(np.abs(theirs).max(initial=0.0)), 1e-6)
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=tolerance, atol=tolerance * largest)


def test_losses_gradients_and_updates_are_theirs(both: tuple[Case, Ours]):
    case, ours = both
    algorithm, state = ours.algorithm, ours.state
    learn = jax.jit(lambda state: algorithm.gradients({}, state, ours.batch, None))
    loss, learnt, gradients = learn(state)
    same(loss, np.float32(case.loss))
    moments, sequences = case.batch["reward"].shape[1] - case.context, len(case.batch["reward"])
    for name, expected in case.losses.items():
        found = learnt.losses[NAMES.get(name, f"reconstruction/{name}")]
        if found.ndim == 1:
            found = found.reshape((moments, sequences))
        same(found.T, expected)
    same(jnp.swapaxes(learnt.states.deter, 0, 1), case.posterior["deter"])
    same(jnp.swapaxes(learnt.states.stoch, 0, 1), case.posterior["stoch"])
    for path, expected in flatten(ours.weights(case.gradients)).items():
        same(flatten(gradients)[path], np.asarray(expected))
    move = jax.jit(lambda state, *found: algorithm.moved({}, state, *found))
    # The learning rate of the first update is 0: the slow critic and the percentiles move.
    for number, after in ((1, case.after_1), (3, case.after_3)):
        while after is not None and int(state.updates[1]) < number:
            _, learnt, gradients = learn(state)
            state = move(state, learnt, gradients)
        if after is not None:
            ours.check(state, after)


def test_bfloat16_is_theirs_but_for_rounding(both: tuple[Case, Ours]):
    case, _ = both
    ours = Ours(case, dtype="bfloat16")
    learn = jax.jit(lambda state: ours.algorithm.gradients({}, state, ours.batch, None))
    loss, _, gradients = learn(ours.state)
    assert float(loss) == pytest.approx(case.loss, rel=0.02)
    expected = flatten(ours.weights(case.gradients))
    slope, theirs = (
        np.concatenate([np.ravel(part[path]) for path in expected])
        for part in (flatten(gradients), expected)
    )
    lengths = np.linalg.norm(slope), np.linalg.norm(theirs)
    assert slope @ theirs / np.prod(lengths) > 0.9, "it points where theirs does"
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)


def test_acting_is_theirs(both: tuple[Case, Ours]):
    case, ours = both
    functions = ours.algorithm.functions
    carry = functions.initial_carry((2,), acting=True)
    act = jax.jit(functions.parameters)
    for t in range(len(case.acting["action"])):
        seen = {n: a[t] for n, a in case.acting_observations.items()}
        outputs, carry = act(ours.state.params, seen, carry, is_first=seen["is_first"])
        action = functions.family.mode(outputs)
        carry = functions.acted(carry, action)
        same(carry["trunk"]["deter"], case.acting["deter"][t])
        same(carry["trunk"]["stoch"], case.acting["stoch"][t])
        same(action, case.acting["action"][t])
        if "logits" in case.acting:
            same(outputs, case.acting["logits"][t])


WALKER = Dict({"orientations": Box((14,)), "height": Box(()), "velocity": Box((9,))})
PROBLEMS = {
    "walker": (WALKER, Box((6,), -1, 1)),
    "crafter": (Box((64, 64, 3), 0, 255, "uint8"), Discrete(17)),
}
TOTALS = {
    "size1m": (640_867, 687_875),
    "size12m": (9_738_019, 10_498_259),
    "size25m": (21_782_947, 23_495_475),
    "size50m": (38_612_003, 41_658_259),
    "size100m": (86_622_499, 93_480_531),
    "size200m": (153_769_507, 165_965_075),
    "size400m": (345_473_059, 372_920_979),
}


@pytest.mark.parametrize("size", SIZES)
def test_presets_have_as_many_weights_as_theirs(size: str):
    for (seen, done), total in zip(PROBLEMS.values(), TOTALS[size], strict=True):
        functions = ActorCritic(
            policy_spec(dataclasses.replace(DreamerConfig(), **SIZES[size]), seen, done)
        )
        assert sum(leaf.size for leaf in flatten(functions.shapes()).values()) == total
