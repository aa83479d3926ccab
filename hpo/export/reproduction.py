"""Reproduce a bundle: retrain its best values on the same data, and compare the scores."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import tomli_w

from hpo.atomic import atomic_file, sweep_leftovers
from hpo.data.splits import TextData
from hpo.errors import DataError, ModelError, SpecError, StudyError, quote_value
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import train_and_predict
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.winner import retraining_runs
from hpo.export.agreement import Reproduction, judge_reproduction
from hpo.export.bundle import Bundle, read_bundle, row_digests
from hpo.search.preflight import preflight
from hpo.search.setup import check_training, load_context
from hpo.store.attributes import write_attributes
from hpo.store.provenance import describe_device, installed_versions
from hpo.store.run_record import RunRecord
from hpo.store.storage import default_storage_url, find_study, open_storage, store_exists
from hpo.store.study_record import StudyRecord, companion_name, study_attributes
from hpo.study.spec import StudySpec, load_study

STUDY_FILE = "study.toml"
SYSTEM = "reproduction"  # name of the runs in the store
_PATH_KEYS = ("source", "train", "validation", "test")  # keys of [data] that may name files


def reproduce_bundle(
    path: Path,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    folder: Path | None = None,
    listener: RunListener | None = None,
) -> Reproduction:
    """Retrain the best values of a bundle and compare the scores; nothing is searched.

    The runs are stored in `folder` (default: `<name>-reproduced`). After an interruption the same call continues.

    Args:
        path: The bundle.
        overrides: `key=value` texts that replace keys of the study file.
        seeds: Number of runs, with seeds from 0 on; default: the seeds of the study.
        folder: Where to work.
        listener: Receives the progress.

    Raises HpoError before anything is trained or left behind: the file is no bundle, its study is invalid, or the data
    differ (the message says in which rows); TrainingError if every run fails. Code that comes with the checkpoint is
    executed only if the overrides allow it, whatever the bundle says.
    """
    listener = listener or RunListener()
    bundle = read_bundle(path)
    folder = folder or Path(f"{bundle.manifest.study}-reproduced")
    with _study_file(bundle, folder, listener) as file:
        seed_override = [f"final.seeds={seeds}"] if seeds is not None else []
        spec = load_study(file, (*overrides, *seed_override))
        url = default_storage_url(folder)
        _check_values(bundle, spec)
        _check_inputs(bundle, spec, url)
    _report_differences(bundle, spec, listener)
    runs = []
    with open_final_runs(spec, url, listener) as final:
        # Those that the study chose are fixed fields of the bundle, and this device must not add others.
        write_attributes(final.study, study_attributes(accelerations={}))
        for run in retraining_runs(spec, bundle.best.values):
            trial = final.make(run, SYSTEM, partial(train_and_predict, final, run, SYSTEM))
            runs.append(RunRecord.from_trial(trial))
    return judge_reproduction(spec.name, bundle.best, runs)


def describe_data_difference(bundle: Bundle, data: TextData) -> str:
    """Describe in a few words how the data here differ from those of the bundle."""
    if list(data.label_names) != bundle.data.labels:
        return f"the labels are {', '.join(data.label_names)}, in the bundle {', '.join(bundle.data.labels)}"
    here, there = data.rows(), bundle.data.rows
    if here != there:
        return "; ".join(
            f"{split} has {here.get(split, 0):,} rows, in the bundle {there.get(split, 0):,}"
            for split in dict.fromkeys([*there, *here])
            if here.get(split) != there.get(split)
        )
    for name, split in data.splits().items():
        pairs = list(zip(row_digests(split), bundle.rows.get(name, []), strict=False))
        differing = [index for index, (row, bundled) in enumerate(pairs) if row != bundled]
        if differing:
            (text, label), (bundled_text, bundled_label) = pairs[differing[0]]
            difference = "the text differs"
            if text == bundled_text:
                names = [quote_value(data.label_names[position]) for position in (label, bundled_label)]
                difference = f"labelled {names[0]}, in the bundle {names[1]}"
            count = f"{len(differing):,} of {len(split):,} rows of {name} differ"
            return f"{count}, the first is row {differing[0] + 1}: {difference}"
    return "the numbers of rows agree, but texts or labels differ"


@contextmanager
def _study_file(bundle: Bundle, folder: Path, listener: RunListener) -> Iterator[Path]:
    """Write the study file into the folder; if the block fails, remove what was created."""
    content = _safe_study(bundle, listener)
    file = folder / STUDY_FILE
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    is_same = file.is_file() and file.read_text(encoding="utf8") == content
    try:
        sweep_leftovers(folder)
        if not is_same:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise StudyError(f"{folder}: exists and is not from this bundle; choose another --output")
            with atomic_file(file) as temporary:
                temporary.write_text(content, encoding="utf8")
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror}; choose another --output") from None
    try:
        yield file
    except BaseException:
        with suppress(OSError):  # the folder may hold something else by now
            if not is_same:
                file.unlink()
            for path in created:
                path.rmdir()
        raise


def _safe_study(bundle: Bundle, listener: RunListener) -> str:
    """Return the bundle's study file without settings that only the user may choose; a notice names each of them."""
    try:
        raw = tomllib.loads(bundle.study.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(bundle.path, "", f"its {STUDY_FILE} is not TOML: {error}") from None
    tables = {name: raw.get(name, {}) for name in ("data", "model", "space", "training")}
    if not all(isinstance(table, dict) for table in tables.values()) or "file" in tables["space"]:
        raise SpecError(bundle.path, "", f"its {STUDY_FILE} was not written by hpo")
    raw.pop("storage", None)
    # Bundles without this key are older than the accelerations, so nothing of the kind was used.
    tables["training"].setdefault("speed", "exact")
    raw["training"] = tables["training"]
    if tables["model"].pop("trust_remote_code", False):
        listener.notice("code in the checkpoint is not executed; --set model.trust_remote_code=true allows it")
    if tables["training"].pop("report_to", "none") not in ("none", [], ["none"]):
        listener.notice("training.report_to would send results elsewhere and is removed; --set adds it again")
    for key in _PATH_KEYS:
        value = tables["data"].get(key)
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and path.startswith(("/", "~")):
                listener.notice(f"data.{key} is {path}, as in the bundle; --set data.{key}=PATH names another")
    return tomli_w.dumps(raw)


def _check_values(bundle: Bundle, spec: StudySpec) -> None:
    """Raise SpecError if the best values do not fit the study's own search space."""
    parameters, values = spec.space.parameters, bundle.best.values
    if parameters.keys() != values.keys():
        raise SpecError(bundle.path, "", "its best values and its search space name different hyperparameters")
    for name, value in values.items():
        if reason := parameters[name].reason_against(value):
            raise SpecError(bundle.path, "", f"its best {name} {reason}")
    if spec.objective != bundle.best.objective:
        raise SpecError(bundle.path, "", f"its runs are scored by {bundle.best.objective}, its study by another metric")


def _check_inputs(bundle: Bundle, spec: StudySpec, url: str) -> None:
    """Raise HpoError if data or checkpoint differ from the bundle's, or if the folder has runs of other settings."""
    if store_exists(url):
        stored = find_study(open_storage(url), companion_name(spec.name))
        if stored and StudyRecord.from_attributes(stored.user_attrs).identity != spec.identity():
            raise StudyError(
                f"{spec.file.parent}: was started with other --set values; repeat those, or choose another --output"
            )
        return
    try:
        checked = preflight(spec, url)
    except DataError as error:
        raise DataError(f"{error}; name the data with --set data.source=PATH (or data.train, data.test)") from None
    except ModelError as error:
        raise _checkpoint_error(error) from None
    data = checked.data
    if data.fingerprint != bundle.data.fingerprint:
        raise DataError(
            f"the data differ from those of the bundle: {describe_data_difference(bundle, data)} "
            f"(fingerprint {bundle.data.fingerprint} -> {data.fingerprint}); "
            "restore the original data, or name them with --set data.source=PATH"
        )
    try:
        context, _ = load_context(spec, data, lambda text: None)
    except ModelError as error:
        raise _checkpoint_error(error) from None
    check_training(context, checked)


def _checkpoint_error(error: ModelError) -> ModelError:
    return ModelError(f"{error}; name the local checkpoint with --set model.checkpoint=PATH")


def _report_differences(bundle: Bundle, spec: StudySpec, listener: RunListener) -> None:
    """Send a notice for keys that --set has changed, for other versions, and for another device."""
    bundled, used = load_study(spec.file).identity(), spec.identity()
    if changed := sorted(key for key in bundled.keys() | used.keys() if bundled.get(key) != used.get(key)):
        listener.notice(f"changed by --set: {', '.join(changed)}")
    here, there = installed_versions(), bundle.best.versions
    if differing := [
        f"{name} {there[name]} -> {here.get(name, 'none')}" for name in there if there[name] != here.get(name)
    ]:
        listener.notice(f"versions differ: {', '.join(differing)}; constraints.txt in the bundle pins all of them")
    if bundle.best.device and bundle.best.device != (device := describe_device()):
        listener.notice(f"the device differs: {bundle.best.device} -> {device}")
