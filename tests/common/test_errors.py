import pytest

from heredity.common import errors
from heredity.common.errors import (
    HeredityError,
    MismatchError,
    MissingExtraError,
    RefusedError,
    StorageError,
    UnknownNameError,
    UsageError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.UnknownNameError, 2),
        (errors.MissingExtraError, 2),
        (errors.RefusedError, 3),
        (errors.MismatchError, 3),
        (errors.StorageError, 1),
        (errors.DivergedError, 1),
        (errors.FrozenError, 1),
    ],
)
def test_exit_codes(kind: type[HeredityError], code: int):
    assert kind.exit_code == code
    assert issubclass(kind, HeredityError)


def test_unknown_names_offer_the_nearest():
    message = str(UnknownNameError("flag", "sead", ["seed", "steps", "total"], "see --help"))
    assert "did you mean 'seed'" in message
    assert "known: seed, steps, total" in message
    assert message.endswith("see --help")
    assert "did you mean" not in str(UnknownNameError("flag", "zzzz", ["seed"]))
    assert "(known: none)" in str(UnknownNameError("flag", "x", []))
    assert "…" in str(UnknownNameError("flag", "x", [f"name-{i:03}" for i in range(100)]))


def test_refusals_name_the_file_and_the_remedy():
    error = RefusedError("a/b.json", "is torn", "Use another copy")
    assert str(error) == "a/b.json: is torn. Use another copy"
    assert str(error.path) == "a/b.json"


def test_a_mismatch_needs_no_path():
    assert str(MismatchError("4 columns, 3 were expected")) == "4 columns, 3 were expected"
    assert (
        str(MismatchError("does not fit", "Choose another", "x"))
        == "x: does not fit. Choose another"
    )


def test_storage_errors_say_what_to_do():
    message = str(StorageError("runs/a", OSError(28, "No space left on device")))
    assert "runs/a: could not be written (No space left on device)" in message
    assert "resume" in message
    assert "odd" in str(StorageError("x", OSError("odd")))


def test_usage_errors_are_value_errors():
    assert issubclass(UsageError, ValueError)
    assert "pip install 'heredity[brax]'" in str(MissingExtraError("brax/ant", "brax", "no brax"))
