"""Whole iterations on the device: acting and learning as one compiled program."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.contract import Algorithm, AlgorithmState
from heredity.common.shared_files import SharedFile
from heredity.environments import Exactness, JaxEnvironment
from heredity.training.mesh import DeviceMesh
from heredity.training.metrics import LAST_VALUES
from heredity.training.runner_base import NONE_SHARED, BaseRunner, means, saved
from heredity.weights import Params

EXACT = Exactness(True, "")


class DeviceRunner(BaseRunner[Algorithm, AlgorithmState]):
    """Whole iterations as one compiled program with donated buffers, for JAX environments.

    Args:
        algorithm: What to run.
        environment: Where.
        seed: Of the run.
        mesh: Several devices, among which the environments are divided; None for one.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        environment: JaxEnvironment,
        seed: int,
        mesh: DeviceMesh | None = None,
    ) -> None:
        self._environment = environment
        self._mesh = mesh
        super().__init__(algorithm)
        self.begin(seed)

    def _use(self, algorithm: Algorithm) -> None:
        super()._use(algorithm)
        environment, mesh = self._environment, self._mesh
        placed = None if mesh is None else mesh.of_state(algorithm)
        self._first = jax.jit(
            lambda seed: algorithm.begin(environment, seed),
            out_shardings=placed and placed.experience,
        )
        if mesh is not None and placed is not None:
            without = dataclasses.replace(placed, experience=())
            self._init = jax.jit(algorithm.init, out_shardings=(mesh.whole, without))
        self._advance = jax.jit(
            self._many_iterations,
            donate_argnums=1,
            out_shardings=mesh and (placed, mesh.whole),
            compiler_options=self._options,
        )

    def begin(self, seed: int) -> None:
        """Start anew from fresh weights; nothing is compiled again."""
        self.constants, state = self._init(np.uint32(seed))
        self._seed = np.uint32(seed)
        # Only their shapes: a resume never needs the first states of the environments.
        self.state = dataclasses.replace(state, experience=jax.eval_shape(self._first, self._seed))
        self._begun = False

    def _on_devices(self) -> contextlib.AbstractContextManager[object]:
        """Within it, what is traced is divided among the devices."""
        return jax.set_mesh(self._mesh.mesh) if self._mesh else contextlib.nullcontext()

    def _begin_experience(self) -> None:
        if not self._begun:
            with self._on_devices():
                first = self._first(self._seed)
            self.state = dataclasses.replace(self.state, experience=first)
            self._begun = True

    def _many_iterations(
        self, constants: Params, state: AlgorithmState, iterations: jax.Array
    ) -> tuple[AlgorithmState, dict[str, jax.Array]]:
        def one(state: AlgorithmState) -> tuple[AlgorithmState, dict[str, jax.Array]]:
            return self.algorithm.iteration(self._environment, constants, state)

        return repeated(one, state, iterations)

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations without returning to the host in between."""
        self._begin_experience()
        with self._on_devices():
            self.state, sums = self._advance(self.constants, self.state, np.int32(iterations))
        return means({name: float(value) for name, value in jax.device_get(sums).items()})

    def load(
        self,
        policy: dict[str, np.ndarray],
        state: dict[str, np.ndarray],
        attempt: int | None,
        shared: Mapping[str, SharedFile] = NONE_SHARED,
    ) -> Exactness:
        """Go on from a saved state, environments included."""
        self._load_state(policy, state, attempt)
        if self._mesh is not None:
            self.constants = self._mesh.placed(self.constants, self._mesh.whole)
            self.state = self._mesh.placed(self.state, self._mesh.of_state(self.algorithm))
        self._begun = True
        return EXACT

    def save(self) -> dict[str, np.ndarray]:
        """The state, environments included, without the weights.

        Where the devices are those of several processes, all of them call this.
        """
        self._begin_experience()
        if self._mesh is None:
            return saved(self.state)
        return saved(self._mesh.gathered(self.state))


def repeated(
    one: Callable[[AlgorithmState], tuple[AlgorithmState, dict[str, jax.Array]]],
    state: AlgorithmState,
    iterations: jax.Array,
) -> tuple[AlgorithmState, dict[str, jax.Array]]:
    """Several iterations, until something is not finite.

    The number of iterations is data, so that one program serves every stretch.

    Args:
        one: An iteration. What it logs has the shape () or, of several seeds, (K,).
        state: To begin with.
        iterations: How many.

    Returns:
        The state, and the sums of what was logged (of `LAST_VALUES` the last one), with
        ``iterations`` made and ``finite``.
    """
    shapes = jax.eval_shape(one, state)[1]
    zeros = {name: jnp.zeros(leaf.shape, jnp.float32) for name, leaf in shapes.items()}

    def go_on(carry: tuple) -> jax.Array:
        made, finite, _, _ = carry
        return (made < iterations) & finite.all()

    def body(carry: tuple) -> tuple:
        made, _, state, sums = carry
        state, logged = one(state)
        sums = {
            name: value if name in LAST_VALUES else sums[name] + value
            for name, value in logged.items()
        }
        return made + 1, logged["finite"], state, sums

    start = (jnp.int32(0), jnp.ones(shapes["finite"].shape, bool), state, zeros)
    made, finite, state, sums = jax.lax.while_loop(go_on, body, start)
    return state, {**sums, "iterations": made, "finite": finite}
