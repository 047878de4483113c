"""What is seen and what is done."""

from heredity.spaces.difference import space_difference
from heredity.spaces.gymnasium import from_gymnasium, to_gymnasium
from heredity.spaces.serialization import space_from_json, space_to_json
from heredity.spaces.space import Box, Dict, Dim, Discrete, Graph, MultiDiscrete, Space
from heredity.spaces.words import space_in_words

__all__ = [
    "Box",
    "Dict",
    "Dim",
    "Discrete",
    "Graph",
    "MultiDiscrete",
    "Space",
    "from_gymnasium",
    "space_difference",
    "space_from_json",
    "space_in_words",
    "space_to_json",
    "to_gymnasium",
]
