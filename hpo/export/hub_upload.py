"""An exported model folder -> a repository on the Hugging Face hub, private unless it is said otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REFUSED = {
    401: "does not know the token; `hf auth login` asks for another",
    402: "asks for a payment before it takes this",
    403: "does not let this token write there; it needs the right to write, and the name a place that is yours",
    429: "has had too many requests; wait a while",
}


def check_upload(name: str) -> None:
    """Raise HubError for a name that no repository can have, and where there is no token or no line to the hub.

    The token is looked for where huggingface_hub does: HF_TOKEN, or what `hf auth login` has kept.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it is in the hub's own docs

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HubError(f"--push-to-hub {name!r}: {_line(error)}") from None
    if constants.HF_HUB_OFFLINE:
        raise HubError("--push-to-hub: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is sent; unset it")
    if not get_token():
        raise HubError("--push-to-hub: there is no token; `hf auth login` asks for one, or set HF_TOKEN")


def push_to_hub(folder: Path, name: str, public: bool = False) -> str:
    """The URL of the repository that now holds the folder's files, made for them: `user/name`, or `name` of one's own.

    A repository that is there is used where it is empty, as an upload that broke off leaves it. Raises HubError as
    `check`, and where the hub cannot be reached or refuses; the folder is not touched. No message holds the token.
    """
    check_upload(name)
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        where = _made(api, name, public)
        api.upload_folder(
            repo_id=where, folder_path=folder, commit_message="Model and card, exported by hpo", repo_type="model"
        )
    except HubError:
        raise
    except Exception as error:  # its own errors, those of the transport, and of the threads that upload
        reason = _reason(error, name, api.endpoint)
        raise HubError(f"{reason}; the folder stays at {folder}, and the same command tries again") from None
    return f"{api.endpoint}/{where}"


def _made(api: HfApi, name: str, public: bool) -> str:
    """The full name of the new repository, or of one that is there and empty."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.create_repo(name, private=not public, repo_type="model").repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    whole = name if "/" in name else f"{api.whoami()['name']}/{name}"
    found = api.model_info(whole)
    if any(file.rfilename != ".gitattributes" for file in found.siblings or []):
        raise HubError(f"--push-to-hub {whole}: there is such a repository, with files in it; choose another name")
    if not found.private and not public:
        raise HubError(
            f"--push-to-hub {whole}: there is such a repository, and it is public; --public says that is meant"
        )
    return whole


def _reason(error: Exception, name: str, endpoint: str) -> str:
    """What went wrong in one line, from the errors that led to it; never what the hub itself wrote but its number."""
    from huggingface_hub.errors import HfHubHTTPError

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            return f"--push-to-hub {name}: {endpoint} {_REFUSED.get(status, f'answered {status}')}"
    said = f"{type(causes[-1]).__name__}: {_line(causes[-1])}"
    return f"--push-to-hub {name}: {endpoint} cannot be reached, or the line broke ({said})"


def _line(error: BaseException) -> str:
    from huggingface_hub import get_token

    first = (str(error).strip().splitlines() or [""])[0]
    return first.replace(get_token() or "\0", "***")
