"""Upload an exported model folder to a repository on the Hugging Face hub, private by default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import HubError
from hpo.ownership import FILE_LIST

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REFUSALS = {  # HTTP status -> what the hub did, and what to do
    401: "does not accept the token; `hf auth login` stores another",
    402: "requires a payment; see the settings of your account there",
    403: "does not let this token write there; use a token with write access, and a name below your own account",
    429: "has received too many requests; try again later",
}


def check_upload(name: str) -> None:
    """Raise HubError if a repository cannot have this name, if the hub is switched off, or if there is no token.

    The token is looked up as huggingface_hub does: HF_TOKEN, or what `hf auth login` has stored.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, but not exported

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HubError(f"--push-to-hub is {name!r}: {_first_line(error)}") from None
    if constants.HF_HUB_OFFLINE:
        raise HubError("--push-to-hub: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing is sent; unset it")
    if not get_token():
        raise HubError("--push-to-hub: there is no token; run `hf auth login`, or set HF_TOKEN")


def push_to_hub(folder: Path, name: str, public: bool = False) -> str:
    """Upload a folder to the repository `user/name`, or `name` below one's own account; return its URL.

    The repository is created if it does not exist. An existing one is used only if it is empty, as an interrupted
    upload leaves it. Raises HubError like `check_upload`, and if the hub cannot be reached or refuses. The folder is
    not changed, and no message contains the token.
    """
    check_upload(name)
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        repository = _create_repository(api, name, public)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            ignore_patterns=[FILE_LIST],
            commit_message="Model and card, exported by hpo",
            repo_type="model",
        )
    except HubError:
        raise
    except Exception as error:  # errors of the hub, of the HTTP client, and of the threads that upload
        reason = _describe_failure(error, name, api.endpoint)
        raise HubError(f"{reason}; the folder remains at {folder}, and the same command tries again") from None
    return f"{api.endpoint}/{repository}"


def _create_repository(api: HfApi, name: str, public: bool) -> str:
    """Create the repository, or accept one that exists and is empty; return its full name."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.create_repo(name, private=not public, repo_type="model").repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:  # 409: it exists
            raise
    full_name = name if "/" in name else f"{api.whoami()['name']}/{name}"
    repository = api.model_info(full_name)
    if any(file.rfilename != ".gitattributes" for file in repository.siblings or []):
        raise HubError(f"--push-to-hub is {full_name}: this repository exists and has files; choose another name")
    if not repository.private and not public:
        raise HubError(
            f"--push-to-hub is {full_name}: this repository exists and is public; add --public if that is intended"
        )
    return full_name


def _describe_failure(error: Exception, name: str, endpoint: str) -> str:
    """Describe a failed upload in one line.

    Of the hub's response only the status is quoted: its text can repeat request headers, and so the token.
    """
    from huggingface_hub.errors import HfHubHTTPError

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            return f"--push-to-hub is {name}: {endpoint} {_REFUSALS.get(status, f'answered with status {status}')}"
    first_cause = f"{type(causes[-1]).__name__}: {_first_line(causes[-1])}"
    return f"--push-to-hub is {name}: {endpoint} cannot be reached, or the connection broke ({first_cause})"


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's message, with the token masked."""
    from huggingface_hub import get_token

    line = (str(error).strip().splitlines() or [""])[0]
    return line.replace(get_token() or "\0", "***")
