"""Functions with weights."""

from heredity.networks.cnn import Cnn, CnnOptions
from heredity.networks.contract import (
    EncodingNetwork,
    Network,
    NetworkSpec,
    build_network,
    known_networks,
    register_network,
)
from heredity.networks.distributions import (
    Distribution,
    DistributionSpec,
    build_distribution,
    default_kind,
)
from heredity.networks.gru import Gru, GruOptions
from heredity.networks.mlp import Mlp, MlpOptions
from heredity.networks.observations import chosen_entries
from heredity.networks.own import LinenNetwork, trust_network
from heredity.networks.pictures import picture_spaces
from heredity.networks.vit import Vit, VitOptions
from heredity.networks.vit_file import VitFile, read_vit
from heredity.networks.world_model import (
    BinsOptions,
    DecoderOptions,
    EncoderOptions,
    HeadOptions,
    RssmOptions,
)

__all__ = [
    "BinsOptions",
    "Cnn",
    "CnnOptions",
    "DecoderOptions",
    "Distribution",
    "DistributionSpec",
    "EncoderOptions",
    "EncodingNetwork",
    "Gru",
    "GruOptions",
    "HeadOptions",
    "LinenNetwork",
    "Mlp",
    "MlpOptions",
    "Network",
    "NetworkSpec",
    "RssmOptions",
    "Vit",
    "VitFile",
    "VitOptions",
    "build_distribution",
    "build_network",
    "chosen_entries",
    "default_kind",
    "known_networks",
    "picture_spaces",
    "read_vit",
    "register_network",
    "trust_network",
]
