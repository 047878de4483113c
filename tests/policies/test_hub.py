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
    # Nothing is fetched that could be code or a pickle.
    assert hub.calls[2] == ("download", "me/ant", "v1", ("*.safetensors", "*.json", "*.md"))


def test_what_comes_from_the_hub_is_checked_like_any_file(hub: types.SimpleNamespace):
    build().push_to_hub("me/ant")
    path = hub.root / "me" / "ant" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RefusedError, match=r"model\.safetensors: was altered"):
        Policy.from_pretrained("hf://me/ant")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"heredity\[hub\]"):
        Policy.from_pretrained("hf://me/ant")
    with pytest.raises(MissingExtraError, match=r"heredity\[hub\]"):
        build().push_to_hub("me/ant")
