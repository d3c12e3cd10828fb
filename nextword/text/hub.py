"""Datasets on the Hugging Face Hub: their data files, downloaded one at a time into the Hub's own cache.

`hub:OWNER/DATASET` reads the training files of a dataset; where it has several parts, `hub:OWNER/DATASET/FOLDER` names
one. Files are taken as they are (parquet before jsonl before txt); a dataset that has none of these is read in the
parquet form that the Hub itself makes of it. Dataset scripts are never run.
"""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

from nextword.core.errors import DataError, missing_extra

T = TypeVar("T")
PREFIX = "hub:"
CONVERTED = "refs/convert/parquet"  # the branch on which the Hub keeps its own parquet form of a dataset
PREFERRED = ("parquet", "jsonl", "ndjson", "json", "txt")
PARTS_SHOWN = 12
ERROR_CHARACTERS = 160  # shown of a network error


def is_dataset(source: str, endings: Collection[str]) -> bool:
    """Whether a source names a dataset: it says so, or is no path but `owner/dataset`, with no text file's ending."""
    if source.startswith(PREFIX):
        return True
    if Path(source).exists() or not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", source):
        return False
    owner, name = source.split("/")
    return not Path(owner).exists() and name.rsplit(".", 1)[-1].lower() not in {*endings, "gz", "zst"}


def files(name: str, endings: Collection[str]) -> Iterator[tuple[Path, str]]:
    """The local copy and the name of each training file of the dataset `name`, downloaded when its turn comes.

    Raises SettingsError when the `hub` extra is missing, DataError when the dataset is unknown or cannot be fetched.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra that need not be installed
    except ImportError:
        raise missing_extra("huggingface_hub", "hub") from None
    repository, folder = parse(name)
    api = huggingface_hub.HfApi()

    def listing(revision: str | None) -> list[str]:
        return list(api.list_repo_files(repository, repo_type="dataset", revision=revision))

    def fetch(file: str, revision: str | None) -> str:
        return str(huggingface_hub.hf_hub_download(repository, file, repo_type="dataset", revision=revision))

    chosen, revision = choose(fetched(lambda: listing(None), name), folder, endings), None
    if not chosen:
        revision = CONVERTED
        chosen = choose(fetched(lambda: listing(CONVERTED), name), folder, endings)
    if not chosen:
        raise DataError(f"the dataset {name!r} has no {', '.join(PREFERRED)} file to read; look at its page on the Hub")
    check_one_part(repository, chosen)
    for file in chosen:
        yield Path(fetched(lambda file=file: fetch(file, revision), name)), f"{repository}/{file}"  # type: ignore[misc]


def parse(name: str) -> tuple[str, str]:
    """`owner/dataset/folder` as the repository and the folder in it (either `dataset` alone, for the oldest)."""
    steps = name.strip("/").split("/")
    if not all(steps) or not all(re.fullmatch(r"[\w.-]+", step) for step in steps):
        raise DataError(f"{PREFIX}{name} names no dataset; write hub:OWNER/DATASET, as on its page on the Hub")
    return "/".join(steps[:2]), "/".join(steps[2:])


def choose(listing: list[str], folder: str, endings: Collection[str]) -> list[str]:
    """The files to read: below `folder`, of the first preferred ending there is, of the training split if named."""
    below = [PurePosixPath(file) for file in sorted(listing) if file.startswith(f"{folder}/" if folder else "")]
    for kind in (kind for kind in PREFERRED if kind in endings):
        found = [file for file in below if f".{kind}" in file.suffixes and file.name != "dataset_infos.json"]
        training = [file for file in found if re.search(r"(^|[^a-z])train", str(file).lower())]
        if found:
            return [str(file) for file in training or found]
    return []


def check_one_part(repository: str, chosen: list[str]) -> None:
    """Refuses files from several folders: they are configurations of a dataset, often the same text in other forms."""
    folders = sorted({str(PurePosixPath(file).parent) for file in chosen})
    if len(folders) > 1:
        first = f"{PREFIX}{repository}/{folders[0]}"
        raise DataError(
            f"the dataset {repository} has {len(folders)} parts: {', '.join(folders[:PARTS_SHOWN])}; name one: {first}"
        )


def fetched(action: Callable[[], T], name: str) -> T:
    """The result of a call to the Hub; what goes wrong there becomes a DataError of one line."""
    try:
        return action()
    except Exception as error:  # the Hub's, the disk's and those of its network library, which have no common class
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:ERROR_CHARACTERS]
        raise DataError(
            f"cannot read the dataset {name!r} from the Hugging Face Hub, and no file has this name ({line}); "
            "check the name, the network, and for a gated dataset `hf auth login`"
        ) from None
