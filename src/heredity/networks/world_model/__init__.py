"""The networks of world models: what is seen and done, as a state to imagine from."""

from heredity.networks.world_model.decoder import Decoder, DecoderOptions
from heredity.networks.world_model.encoder import Encoder, EncoderOptions
from heredity.networks.world_model.heads import Bins, BinsOptions, Head, HeadOptions
from heredity.networks.world_model.rssm import Rssm, RssmOptions, State

__all__ = [
    "Bins",
    "BinsOptions",
    "Decoder",
    "DecoderOptions",
    "Encoder",
    "EncoderOptions",
    "Head",
    "HeadOptions",
    "Rssm",
    "RssmOptions",
    "State",
]
