"""Policies on the Hugging Face hub; needs the extra ``hub``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.common.errors import MissingExtraError, RefusedError
from heredity.policies.files import CARD, CONFIG, LINEAGE, WEIGHTS

if TYPE_CHECKING:
    from heredity.policies.policy import Policy

FILES = [CONFIG, WEIGHTS, LINEAGE, CARD]


def _library() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingExtraError("the Hugging Face hub", "hub", str(error)) from None
    return huggingface_hub


def download(repo_id: str, revision: str | None = None) -> Path:
    """Fetch the files of a policy and return the folder they are in. Nothing else is fetched.

    Raises:
        RefusedError: when there is no such repository or revision, or the hub is out of reach.
    """
    library = _library()
    try:
        folder = library.snapshot_download(repo_id, revision=revision, allow_patterns=FILES)
    except (OSError, ValueError) as error:  # everything that the library raises is one of them
        raise RefusedError(
            f"hf://{repo_id}",
            f"could not be downloaded ({str(error).strip().partition(chr(10))[0]})",
            "Check the name, the revision, the network, and `hf auth login` if it is private",
        ) from error
    return Path(folder)


def upload(policy: Policy, repo_id: str, *, private: bool = False) -> str:
    """Create the repository if needed, upload the policy folder, and return its address."""
    api = _library().HfApi()
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=FILES,
            commit_message=f"policy {policy.policy_hash[:12]}",
        )
    return str(commit)
