"""Pickles without Python's unpickler: an interpreter that builds arrays and plain values alone.

A pickle is a program. Python's unpickler runs it with anything that can be imported, so a file can
run any command. The interpreter here knows numbers, text, lists, dicts and arrays. A name that the
program asks for is looked up in a table of our own constructors; nothing is ever imported, and a
name that is not in the table is refused.
"""

from __future__ import annotations

import pickletools
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from heredity.common.errors import RefusedError
from heredity.weights.reading.limits import MOST_PICKLE, MOST_SHARING, MOST_STEPS, SMALL
from heredity.weights.reading.numpy_values import (
    NUMPY_CONSTRUCTORS,
    Torn,
    UnfinishedArray,
    Unfit,
)
from heredity.weights.reading.values import Name, Record, finished

Constructor: TypeAlias = Callable[..., Any]


class _Mark:
    pass


_MARK = _Mark()
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for pair in arguments[0] if arguments else ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unfit("an OrderedDict of what are no pairs")
        _set(found, *pair)
    return found


def _deque(items: Any = (), most: Any = None) -> list[Any]:
    del most
    if not isinstance(items, list | tuple):
        raise Unfit("a deque of what is no list")
    return list(items)


PLAIN_CONSTRUCTORS: Mapping[str, Constructor] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.deque": _deque,
}


class Interpreter:
    """One run over one pickle.

    Args:
        constructors: Our function for each name that may be called.
        most_bytes: Bytes that all that is made by calls may have together, so that few calls with
            one large argument, again and again, do not fill memory.
        records: Names whose objects are kept as `Record`.
        find_storage: What stands for something outside of the pickle (torch's storages).
    """

    def __init__(
        self,
        constructors: Mapping[str, Constructor],
        most_bytes: int,
        records: Iterable[str] = (),
        find_storage: Callable[[Any], Any] | None = None,
    ) -> None:
        self._constructors = constructors
        self._records = frozenset(records)
        self._find_storage = find_storage
        self._most_bytes, self._made = most_bytes, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """The value that the pickle describes; arrays among it may still be unfinished.

        Raises:
            Unfit: saying what was asked for that is not known.
        """
        try:
            for number, (code, argument, _) in enumerate(pickletools.genops(data)):
                if number >= MOST_STEPS:
                    raise Unfit(f"more than {MOST_STEPS:,} instructions")
                if code.name == "STOP":
                    (value,) = self._stack
                    return value
                self._step(code.name, argument)
        except (
            AttributeError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            raise Torn(f"is not a whole pickle ({error})") from None
        raise Torn("is a pickle without an end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in _TUPLES:
            self._replace(_TUPLES[name], tuple(stack[-_TUPLES[name] :]))
        else:
            self._change(name, argument)

    def _change(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                stack.append(tuple(self._above_mark()))
            case "LIST":
                stack.append(self._above_mark())
            case "DICT":
                stack.append({})
                items = self._above_mark(below=1)
                _set_all(stack[-1], items)
            case "APPEND":
                item = stack.pop()
                _list(stack[-1]).append(item)
            case "APPENDS":
                items = self._above_mark()
                _list(stack[-1]).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set(stack[-1], key, value)
            case "SETITEMS":
                items = self._above_mark()
                _set_all(stack[-1], items)
            case "GLOBAL":
                stack.append(self._name(".".join(argument.split(" ", 1))))
            case "STACK_GLOBAL":
                parts = stack[-2:]
                if not all(isinstance(part, str) for part in parts):
                    raise ValueError("a name that is no text")
                self._replace(2, self._name(".".join(parts)))
            case "REDUCE" | "NEWOBJ":
                function, arguments = stack[-2:]
                self._replace(2, self._call(function, arguments))
            case "BUILD":
                state = stack.pop()
                _build(stack[-1], state)
                self._charge(stack[-1])
            case "BINPERSID" if self._find_storage is not None:
                stack.append(self._find_storage(stack.pop()))
            case _:
                raise Unfit(f"the instruction {name}")

    def _replace(self, count: int, value: Any) -> None:
        if len(self._stack) < count or any(part is _MARK for part in self._stack[-count:]):
            raise ValueError("too little on the stack")
        del self._stack[-count:]
        self._stack.append(value)

    def _above_mark(self, below: int = 0) -> list[Any]:
        """What was put on the stack since the last mark, taken off with it.

        Args:
            below: How many values at the top are left where they are.
        """
        end = len(self._stack) - below
        for start in range(end - 1, -1, -1):
            if self._stack[start] is _MARK:
                items = self._stack[start + 1 : end]
                del self._stack[start:end]
                return items
        raise ValueError("no mark on the stack")

    def _name(self, text: str) -> Name:
        # numpy moved its inner modules; files of both names are about the same things.
        text = text.replace("numpy._core.", "numpy.core.", 1)
        if text not in self._constructors and text not in self._records:
            raise Unfit(text[:200] if text.isprintable() else ascii(text[:200]))
        return Name(text)

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("a call of what has no name")
        if function.text in self._records:
            return Record(function.text, arguments)
        made = self._constructors[function.text](*arguments)
        self._charge(made)
        return made

    def _charge(self, made: Any) -> None:
        array = made.content if isinstance(made, UnfinishedArray) else made
        # What is within a list or dict was there before.
        self._made += array.nbytes if isinstance(array, np.ndarray) else sys.getsizeof(array)
        if self._made > self._most_bytes:
            raise Unfit(f"values of more than {self._most_bytes:,} bytes")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"an item for a {type(value).__name__}")
    return value


def _set(target: Any, key: Any, value: Any) -> None:
    # A tuple of tuples of tuples would take for ever to be hashed.
    if not isinstance(target, dict) or not isinstance(key, str | int):
        raise ValueError(f"a {type(key).__name__} as a key of a {type(target).__name__}")
    target[key] = value


def _set_all(target: Any, items: list[Any]) -> None:
    if len(items) % 2:
        raise ValueError("a key without a value")
    for index in range(0, len(items), 2):
        _set(target, items[index], items[index + 1])


def _build(target: Any, state: Any) -> None:
    if isinstance(target, Record):
        target.state = state
    elif isinstance(target, dict):
        pass  # attributes of an OrderedDict, such as torch's _metadata: nothing of it is weights
    elif hasattr(target, "build"):
        target.build(state)
    else:
        raise ValueError(f"a state for a {type(target).__name__}")


def read_pickle(data: bytes, path: Path | str, *, records: Iterable[str] = ()) -> Any:
    """What a pickle holds: numbers, text, lists, dicts and arrays. Nothing of it is run.

    Args:
        data: The pickle.
        path: What errors call it.
        records: Names of classes and functions whose objects are to be given as `Record`.

    Raises:
        RefusedError: naming what it asks for that is none of these, or how it is broken.

    Example:
        >>> import os, pickle
        >>> class Hostile:
        ...     def __reduce__(self):
        ...         return os.system, ("echo this would have been run",)
        >>> read_pickle(pickle.dumps({"weights": Hostile()}), "params.pkl")
        Traceback (most recent call last):
        heredity.common.errors.RefusedError: params.pkl: asks for posix.system. ...
    """
    most = MOST_SHARING * len(data) + SMALL
    interpreter = Interpreter({**NUMPY_CONSTRUCTORS, **PLAIN_CONSTRUCTORS}, most, records)
    with refusing(path):
        if len(data) > MOST_PICKLE:
            raise Unfit(f"{len(data):,} bytes, at most {MOST_PICKLE:,}")
        return finished(interpreter.run(data), most)


class refusing:
    """A block in which `Unfit` becomes a `RefusedError` that says what a file asked for.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, Unfit):
            told = f"{error}" if isinstance(error, Torn) else f"asks for {error}"
            remedy = "Arrays and plain values are read from pickles; nothing of this one was run"
            raise RefusedError(self._path, told, remedy) from None
