"""The one thing that is handed on: a specification, weights, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from heredity.common.errors import MismatchError, RefusedError, UntrustedError, UsageError
from heredity.networks import trust_network
from heredity.networks.contract import Carry
from heredity.policies.acting import Acting
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.axes import UnreadColumns
from heredity.policies.files import CONFIG, load_policy, save_policy
from heredity.policies.fitting import check_weights
from heredity.policies.given import without_unneeded
from heredity.policies.lineage import Lineage, LineageEntry
from heredity.policies.specification import PolicySpec
from heredity.spaces import Space, space_difference
from heredity.weights import (
    Params,
    Rule,
    WeightReport,
    content_hash,
    count,
    flatten,
    inject,
    unflatten,
)

if TYPE_CHECKING:
    from heredity.policies.transfer.plan import TransferPlan


class Policy:
    """A policy that can act, be saved, be loaded, and be given to somebody else.

    It needs neither the environment nor the code that trained it.

    Args:
        spec: What it sees, does, and is built from.
        params: Weights as a nested dict; statistics of the normaliser among them.
        lineage: Where the weights come from.

    Raises:
        MismatchError: when the weights do not fit the specification.

    Example:
        >>> from heredity.networks import DistributionSpec, MlpOptions
        >>> from heredity.spaces import Box, Discrete
        >>> spec = PolicySpec(
        ...     Box((4,)), Discrete(2), MlpOptions().spec(), DistributionSpec("categorical")
        ... )
        >>> policy = Policy(spec, ActorCritic(spec).init(0))
        >>> action, state = policy.predict(np.zeros(4, np.float32))
        >>> action in (0, 1)
        True
    """

    def __init__(self, spec: PolicySpec, params: Params, lineage: Lineage | None = None) -> None:
        self.spec = spec
        self.lineage = lineage or Lineage()
        self.functions = ActorCritic(spec)
        self._leaves = {path: _own(leaf) for path, leaf in flatten(params).items()}
        check_weights(self.functions, self.params)
        self._acting_space = spec.acting_space
        self._hash: str | None = None
        self._unread = UnreadColumns(self.functions)
        self._acting = Acting(self.functions, self.params, self._unread)

    @property
    def params(self) -> Params:
        """The weights as a nested dict of read-only numpy arrays.

        The dict is a new one each time: what is put into it is not put into the policy, whose hash
        and actions are those of its weights. Changed weights make another policy: see `inject`,
        `descendant`, and `weights.put`.

        Raises:
            UsageError: when it is assigned to.
        """
        return unflatten(self._leaves)

    @params.setter
    def params(self, value: Any) -> None:
        del value
        raise UsageError(
            "a policy's weights stay what they are: policy.inject(...) and policy.descendant(...) "
            "make another one of changed weights, which its lineage tells"
        )

    @property
    def policy_hash(self) -> str:
        """Content hash (SHA-256) of the weights."""
        if self._hash is None:
            self._hash = content_hash(self.params)
        return self._hash

    @property
    def parameter_count(self) -> int:
        """How many numbers the weights have, statistics among them."""
        return count(self.params)

    # --- pure functions, for learning, distilling and exporting -----------------------------------

    def distribution(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """Parameters of the distribution over actions; read them with `functions.family`.

        Args:
            params: Weights of this specification (not necessarily this policy's own).
            observation: With batch axes ``(...,)``.
            carry: Memory: what the call before gave, or `functions.initial_carry`.
            is_first: Where episodes begin, ``(...,)``.
            key: For networks that draw.

        Returns:
            Shape ``(..., P)``, and the new carry.
        """
        observation = self._unread.without_gaps(params, observation)
        seen = self.functions.preprocess(params, observation, self._acting_space)
        return self.functions.parameters(params, seen, carry, is_first=is_first, key=key)

    def act(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        key: jax.Array | None = None,
        *,
        is_first: jax.Array | None = None,
        deterministic: bool = False,
    ) -> tuple[jax.Array, Carry]:
        """Actions for the environment, shape ``(..., *action)``, and the new carry. Pure.

        Raises:
            UsageError: when it should draw and has no key.
        """
        family = self.functions.family
        if deterministic:
            parameters, carry = self.distribution(params, observation, carry, is_first=is_first)
            raw_action = family.mode(parameters)
        elif key is None:
            raise UsageError("act() without deterministic=True draws and needs a key")
        else:
            parameters, carry = self.distribution(
                params, observation, carry, is_first=is_first, key=jax.random.fold_in(key, 0)
            )
            raw_action = family.sample(parameters, key)
        return family.to_action(raw_action), self.functions.acted(carry, raw_action)

    # --- numpy in, numpy out ----------------------------------------------------------------------

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
        *,
        key: int | None = None,
    ) -> tuple[Any, Any]:
        """Actions for one observation or a batch of them.

        Args:
            observation: One observation of the policy's space, or several with one leading axis.
                What the critic alone reads may be left out.
            state: Memory from the last call, for policies that have one; None at the start.
            episode_start: Shape ``(B,)``, or one bool for one observation: where an episode begins,
                and what was remembered is forgotten; for policies with memory.
            deterministic: Whether to take the most likely action rather than to draw one.
            key: A whole number that decides the draw; without it, calls are numbered.

        Returns:
            The action, numpy, batched as the observation was; and the memory (None if there is
            none).

        Raises:
            MismatchError: when the observation is not of the policy's space, has NaN, or numbers
                that make the outputs infinite; when the memory is not this policy's, or of another
                batch.
            UsageError: when `key` is not a whole number of 32 bits.
        """
        return self._acting.predict(observation, state, episode_start, deterministic, key)

    def descendant(
        self,
        operation: str,
        made: Policy,
        report: WeightReport,
        arguments: Mapping[str, Any] | None = None,
    ) -> Policy:
        """A policy made of this one by an operation on weights, which its lineage records now.

        Args:
            operation: A verb, such as ``inject``.
            made: The new policy, which has no lineage yet.
            report: What was done to the weights; verified, and kept in the lineage whole.
            arguments: What the operation was told.

        Raises:
            GuaranteeError: when something measured is not within what is allowed.
            MismatchError: when the report is about no weights, or used nothing of its source.
            UsageError: when the new policy has a lineage already.
        """
        if made.lineage.entries:
            raise UsageError("descendant: the new policy has a lineage already: give one without")
        told = {**(arguments or {}), "report": report.verify().to_json()}
        lineage = self.lineage.up_to(self.policy_hash)
        last = lineage.entries[-1] if lineage.entries else None
        entry = LineageEntry(
            operation,
            made.policy_hash,
            self.policy_hash,
            last.step if last else 0,
            last.run if last else "",
            told,
        )
        made.lineage = lineage.then(entry)
        return made

    def inject(
        self,
        source: Mapping[str, Any],
        rules: Sequence[Rule] = (),
        *,
        into: str = "",
        allow: Sequence[str] = (),
    ) -> tuple[Policy, WeightReport]:
        """A policy with weights from elsewhere in it, and the report; see `weights.inject`.

        Example:
            >>> from heredity.networks import DistributionSpec, MlpOptions
            >>> from heredity.spaces import Box, Discrete
            >>> spec = PolicySpec(
            ...     Box((4,)), Discrete(2), MlpOptions().spec(), DistributionSpec("categorical")
            ... )
            >>> policies = [Policy(spec, ActorCritic(spec).init(seed)) for seed in (0, 1)]
            >>> layer = policies[1].params["actor"]["hidden_0"]
            >>> policy, report = policies[0].inject(layer, into="actor/hidden_0")
            >>> report.counts(), policy.lineage.entries[-1].operation
            ({'kept': 4, 'copied': 2}, 'inject')
        """
        params, report = inject(self.params, source, rules, into=into, allow=allow)
        told = {"into": into, "rules": [str(rule) for rule in rules], "allow": list(allow)}
        return self.descendant("inject", Policy(self.spec, params), report, told), report

    def plan_transfer(
        self,
        new_observation_space: Space | None = None,
        new_action_space: Space | None = None,
        *,
        add: Sequence[str] = (),
        drop: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        hidden: Sequence[int] | None = None,
        critic_hidden: Sequence[int] | None = None,
        names: Mapping[str, Sequence[str]] | Sequence[str] = (),
        new_names: Mapping[str, Sequence[str]] | Sequence[str] = (),
        positions: bool = False,
        means: Mapping[str, float] | None = None,
        observations: Any = None,
        new_share: float = 0.01,
        environment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> TransferPlan:
        """How this policy becomes one for other spaces, or with wider and deeper layers.

        Columns, choices and dimensions are found again by name. Nothing is guessed: what has no
        names needs them, or `positions`. Nothing is changed before `transfer`.

        Args:
            new_observation_space: What it is to see; `hd.changed_space` makes one. Default: what it
                sees.
            new_action_space: What it is to do; default: what it does.
            add: Columns to append to what is seen now, as `hd.changed_space` takes them, in place
                of `new_observation_space`.
            drop: Columns, or entries of a `Dict`, to take away from it.
            renamed: New names by old ones: of columns (``speed`` or ``state/speed``), of entries of
                a `Dict`, of actions (``action/hip`` where a sensor has that name as well). Without
                new spaces it is what changes.
            hidden: New widths of the hidden layers of the actor, or of the trunk; at least as wide
                and as many as they are. Of a cnn those after the convolutions, of a gru those
                before the memory.
            critic_hidden: The same of the critic; default: as hidden.
            names: Names for what the policy's spaces do not name: of the columns, or by path
                (``observation/state``, ``action``).
            new_names: The same for the new spaces.
            positions: Whether what has no names is matched by its place.
            means: What stands for a removed column, in its own units, by name; default: its mean in
                the statistics of the normaliser, or in `observations`.
            observations: Recorded ones of the policy's space, with a leading axis ``(B,)``.
            new_share: Probability that all new choices of a discrete action get together, at most.
            environment: ``id`` and ``options`` of the environment that the new policy is for.
            seed: Of weights that are new.

        Raises:
            MismatchError: when a column cannot be found again without a guess, or a layer cannot be
                changed without changing what the policy does; with the reason.
            UnknownNameError: for a name that there is not.
            UsageError: when nothing would change, or names say two things.

        Example:
            >>> from heredity.networks import DistributionSpec, MlpOptions
            >>> from heredity.spaces import Box, Discrete
            >>> spec = PolicySpec(
            ...     Box((4,)), Discrete(2), MlpOptions((8,)).spec(), DistributionSpec("categorical")
            ... )
            >>> policy = Policy(spec, ActorCritic(spec).init(0))
            >>> plan = policy.plan_transfer(hidden=[16])
            >>> plan.report.summary()
            'transfer: 1 copied, 3 grown; 50.9% of 114 numbers from the source; exact'
        """
        from heredity.policies.transfer import plan_transfer

        return plan_transfer(
            self,
            new_observation_space,
            new_action_space,
            add=add,
            drop=drop,
            renamed=renamed,
            hidden=hidden,
            critic_hidden=critic_hidden,
            names=names,
            new_names=new_names,
            positions=positions,
            means=means,
            observations=observations,
            new_share=new_share,
            environment=environment,
            seed=seed,
        )

    def transfer(self, plan: TransferPlan, observations: Any = None) -> tuple[Policy, WeightReport]:
        """A policy made by a plan, and the report with what was measured; see `transfer.transfer`.

        Args:
            plan: What `plan_transfer` gave.
            observations: Recorded ones of this policy's space to measure on, ``(B, ...)``; default:
                sampled ones.
        """
        from heredity.policies.transfer import TransferPlan, transfer

        if not isinstance(plan, TransferPlan):
            raise UsageError(
                f"a plan was expected, as policy.plan_transfer(...) gives it, not {plan!r}"
            )
        return transfer(self, plan, observations)

    def check_spaces(self, observation_space: Space, action_space: Space) -> None:
        """See that an environment shows what the policy sees and takes what it does.

        Bounds may differ; shapes, dtypes, keys and given names may not. What the critic alone reads
        need not be there.

        Raises:
            MismatchError: naming the first difference.
        """
        acting, shown = self._acting_space, observation_space
        if acting != self.spec.observation_space:
            shown = without_unneeded(acting, shown)
        for what, own, other in (
            ("observations", acting, shown),
            ("actions", self.spec.action_space, action_space),
        ):
            difference = space_difference(own, other)
            if difference:
                raise MismatchError(
                    f"the environment's {what} are not the policy's: {difference}",
                    "Choose the environment it was trained in, or one with the same spaces",
                )

    def __repr__(self) -> str:
        where = self.spec.environment["id"] if self.spec.environment else "no named environment"
        step = f", step {self.lineage.entries[-1].step:,}" if self.lineage.entries else ""
        return (
            f"<Policy for {where}{step}: {self.parameter_count:,} numbers, "
            f"sha256:{self.policy_hash[:12]}>"
        )

    # --- files ------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        # For worker processes: compiled functions stay here, and are made again there.
        return type(self), (self.spec, self.params, self.lineage)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, revision: str | None = None, trust: Sequence[str] = ()
    ) -> Policy:
        """Load a policy from a folder, or from the Hugging Face hub (extra ``hub``).

        Every hash is checked. No code that the file names is run, unless `trust` names it too.

        Args:
            path: A folder; or ``hf://owner/name`` on the hub.
            revision: Branch, tag or commit on the hub.
            trust: Networks ``package.module:name`` that may be imported if the file names them.

        Raises:
            RefusedError: naming the file that is missing, torn, altered or from the future.
            UntrustedError: when it names a network that is not part of heredity, nor trusted.
        """
        if str(path).startswith("hf://"):
            from heredity.policies.hub import download

            folder = download(str(path).removeprefix("hf://"), revision)
        else:
            folder = Path(path)
        spec, leaves, lineage, policy_hash = load_policy(folder)
        trust_networks(spec, trust)
        policy = built_policy(spec, leaves, lineage, folder)
        policy._hash = policy_hash
        return policy

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the policy as a folder: config.json, model.safetensors, lineage.json, README.md.

        Raises:
            StorageError: when the disk refuses.
        """
        save_policy(Path(folder), self.spec, self._leaves, self.lineage)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload the policy folder to the Hugging Face hub (extra ``hub``); returns its address."""
        from heredity.policies.hub import upload

        return upload(self, repo_id, private=private)

    # The names people know from Stable-Baselines3.
    save = save_pretrained
    load = from_pretrained


def _own(leaf: Any) -> np.ndarray:
    """A read-only array that nobody else writes to.

    A copy, because a buffer that training donates later must not be part of a policy; but for what
    is such an array already, as that of another policy.
    """
    if isinstance(leaf, np.ndarray) and leaf.flags.owndata and not leaf.flags.writeable:
        return leaf
    copy = np.array(leaf)
    copy.flags.writeable = False
    return copy


def trust_networks(spec: PolicySpec, trust: Sequence[str]) -> None:
    """Import the networks of a specification that a person vouches for; see `trust_network`."""
    for kind in spec.network_kinds & set(trust):
        trust_network(kind)


def built_policy(
    spec: PolicySpec, leaves: Mapping[str, np.ndarray], lineage: Lineage, folder: Path
) -> Policy:
    """The policy that files describe.

    Args:
        spec: As it was read.
        leaves: Weights by path, as they were read.
        lineage: As it was read.
        folder: Of the files, for the error.

    Raises:
        RefusedError: when it cannot be built.
        UntrustedError: when it has a network that is not part of heredity, nor trusted.
    """
    try:
        return Policy(spec, unflatten(leaves), lineage)
    except UntrustedError:
        raise  # not the file's fault: the person vouches for it, or does not
    except Exception as error:  # sizes and names from a file can fail in any layer below
        raise RefusedError(folder / CONFIG, f"cannot be built: {error}") from error
