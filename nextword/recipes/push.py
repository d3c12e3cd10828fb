"""A model to the Hugging Face hub: one commit with the files of a folder.

The `hub` extra does the talking; who may write is decided by the token that `hf auth login` or HF_TOKEN gives. What is
uploaded is listed first.
"""

import sys
from pathlib import Path

from nextword.core.errors import SettingsError, missing_extra
from nextword.core.progress import quantity


def push(place: Path, repository: str, private: bool) -> str:
    """Uploads a folder as one commit, making the repository where there is none; its address.

    SettingsError with what the hub answered where it refuses, and where it cannot be reached.
    """
    try:
        from huggingface_hub import HfApi  # noqa: PLC0415 - an extra, and only for those who ask for it
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    except ImportError:
        raise missing_extra("huggingface_hub", "hub") from None
    files = sorted(path for path in place.iterdir() if path.is_file())
    size = sum(path.stat().st_size for path in files)
    print(f"pushing {quantity(size)}B to {repository}: {', '.join(path.name for path in files)}", file=sys.stderr)
    api = HfApi(library_name="nextword")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=place,
            commit_message="Model and card, by nextword",
            allow_patterns=[path.name for path in files],
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"the hub did not take {repository}: {reason}; the files are whole in {place}. Log in with `hf auth login` "
            "or set HF_TOKEN to a token that may write there"
        ) from None
    return str(done.commit_url)
