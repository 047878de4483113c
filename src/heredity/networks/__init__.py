"""Functions with weights."""

from heredity.networks.contract import (
    Network,
    NetworkSpec,
    build_network,
    register_network,
)
from heredity.networks.distributions import (
    Distribution,
    DistributionSpec,
    build_distribution,
    default_kind,
)
from heredity.networks.mlp import Mlp, MlpOptions

__all__ = [
    "Distribution",
    "DistributionSpec",
    "Mlp",
    "MlpOptions",
    "Network",
    "NetworkSpec",
    "build_distribution",
    "build_network",
    "default_kind",
    "register_network",
]
