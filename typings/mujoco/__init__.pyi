# MuJoCo's names come out of a compiled module that has no stubs: all of them are Any here.
from typing import Any

def __getattr__(name: str) -> Any: ...
