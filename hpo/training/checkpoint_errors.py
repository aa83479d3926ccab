"""Say in one line why a checkpoint cannot be loaded."""

from __future__ import annotations

from pickle import UnpicklingError


def explain_load_error(error: Exception) -> str:
    """Return the reason that an error of the library that loads a checkpoint gives, and what to do."""
    text = " ".join(str(error).split())
    if "couldn't connect" in text or "offline" in text.lower() or "cannot find the requested files" in text:
        reason = "the hub cannot be reached and nothing is cached; give a folder, or try again with a connection"
    elif "not a local folder and is not a valid model identifier" in text or "404" in text:
        reason = "no such checkpoint on the hub (or it is private: `hf auth login`)"
    elif "trust_remote_code" in text:
        reason = "it brings code of its own; model.trust_remote_code = true runs it, if you trust it"
    elif "Weights only load failed" in text or isinstance(error, UnpicklingError):
        reason = "its weights are a damaged pickle, or one that holds more than tensors, which is never run; "
        reason += "save them as safetensors"
    elif "does not appear to have a file named config.json" in text:
        reason = "has no config.json; if it is an adapter, not a whole model; merge it into its base model "
        reason += "(PeftModel.merge_and_unload), save that with its tokenizer, and give that folder"
    elif "no file named" in text or "does not appear to have a file named" in text:
        reason = "has no weights that transformers can load (model.safetensors or pytorch_model.bin)"
    else:
        reason = f"{type(error).__name__}: {text[:200]}"
    return reason
