import shutil
import sys
import types
from pathlib import Path

import pytest
from small_policy import build

from heredity.common.errors import MissingExtraError, RefusedError
from heredity.policies import Policy


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A hub that is a folder."""
    seen = types.SimpleNamespace(root=tmp_path / "hub", calls=[])

    class HfApi:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            seen.calls.append(("create", repo_id, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message) -> str:
            seen.calls.append(("upload", sorted(p.name for p in Path(folder_path).iterdir())))
            seen.message = commit_message
            shutil.copytree(folder_path, seen.root / repo_id, dirs_exist_ok=True)
            return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        seen.calls.append(("download", repo_id, revision, tuple(allow_patterns)))
        return str(seen.root / repo_id)

    module = types.ModuleType("huggingface_hub")
    module.HfApi, module.snapshot_download = HfApi, snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return seen


def test_up_and_down_again(hub: types.SimpleNamespace):
    policy = build()
    address = policy.push_to_hub("me/ant", private=True)
    assert address == "https://hub/me/ant/commit/1"
    assert hub.calls[0] == ("create", "me/ant", True, True)
    assert hub.calls[1][1] == ["README.md", "config.json", "lineage.json", "model.safetensors"]
    assert policy.policy_hash[:12] in hub.message
    again = Policy.from_pretrained("hf://me/ant", revision="v1")
    assert again.policy_hash == policy.policy_hash
    # Nothing else is fetched: no code, no pickle, no gigabytes that happen to lie beside it.
    files = ("config.json", "model.safetensors", "lineage.json", "README.md")
    assert hub.calls[2] == ("download", "me/ant", "v1", files)


def test_what_comes_from_the_hub_is_checked_like_any_file(hub: types.SimpleNamespace):
    build().push_to_hub("me/ant")
    path = hub.root / "me" / "ant" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RefusedError, match=r"model\.safetensors: was altered"):
        Policy.from_pretrained("hf://me/ant")


@pytest.mark.parametrize(
    "error",
    [OSError("401 Client Error.\n\nRepository Not Found for url"), ValueError("Repo id must be")],
    ids=["not found", "no name"],
)
def test_what_cannot_be_fetched_is_refused_by_name(
    hub: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(sys.modules["huggingface_hub"], "snapshot_download", fail)
    with pytest.raises(RefusedError) as raised:
        Policy.from_pretrained("hf://me/absent")
    told = str(raised.value)
    assert told.startswith("hf://me/absent: could not be downloaded (") and "auth login" in told
    assert str(error).partition("\n")[0] in told and "\n" not in told


def test_what_the_library_raises_is_caught():
    errors = pytest.importorskip("huggingface_hub.errors")
    for name in (
        "RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError", "HfHubHTTPError",
        "LocalEntryNotFoundError", "OfflineModeIsEnabled", "HFValidationError",
    ):  # fmt: skip
        assert issubclass(getattr(errors, name), (OSError, ValueError))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"heredity\[hub\]"):
        Policy.from_pretrained("hf://me/ant")
    with pytest.raises(MissingExtraError, match=r"heredity\[hub\]"):
        build().push_to_hub("me/ant")
