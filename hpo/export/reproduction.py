"""Bundle + the same data -> its best values trained anew, and whether the score lies within the seed spread."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from hpo.data.splits import TextData
from hpo.errors import DataError, ModelError, SpecError, StudyError, TrainingError
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retraining_runs, train_and_predict
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.scores import summarize_seeds
from hpo.export.bundle import Bundle, OriginalResult, SeedScores, read_bundle, row_digests
from hpo.results.formatting import format_mean_sd
from hpo.search.preflight import preflight
from hpo.store.provenance import describe_device, installed_versions
from hpo.store.storage import companion_name, default_storage_url, find_study, open_storage, store_exists
from hpo.study.spec import StudySpec, load_study
from hpo.training.checkpoint import load_checkpoint

CONFIDENCE = 0.95
ROUNDING = 1e-12  # scores closer than this differ by rounding alone
STUDY_FILE = "study.toml"
_PLACES = ("source", "train", "validation", "test")  # keys of [data] that may name files
SYSTEM = "reproduction"


@dataclass(frozen=True)
class Reproduction:
    """The scores of a bundle's runs beside those of the runs that were made here."""

    study: str
    objective: str
    split: str
    before: dict[str, Any]  # mean, sd, values, seeds
    again: dict[str, Any]
    low: float | None  # where the mean of runs like those before lies in 95 % of cases
    high: float | None
    failed: list[str]  # why runs here did not come to their end
    same: list[int]  # seeds whose scores agree to the last bit
    shared: list[int]  # seeds of both
    reproduced: bool

    def about(self) -> dict[str, Any]:
        """The same as JSON values, with the sentence."""
        return {**asdict(self), "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """What came out, in a sentence."""
        head = "reproduced" if self.reproduced else "not reproduced"
        count = len(self.again["values"])
        if self.failed and not self.reproduced:
            return f"{head}: {len(self.failed)} of {len(self.failed) + count} runs here failed: {self.failed[0]}"
        if self.shared and self.same == self.shared:
            return f"{head}: each seed in common ({len(self.shared)}) scores the same to the last bit"
        if self.low is None:
            return f"{head}: the scores differ, and one run on each side shows no spread; --seeds 5 shows it"
        where = "lies within" if self.reproduced else "lies outside"
        range_of = f"means of {count} runs like those there" if count > 1 else "runs like those there"
        bounds = f"[{self.low:.4f}, {self.high:.4f}]"
        same = f"; {len(self.same)} of {len(self.shared)} seeds score the same to the last bit" if self.same else ""
        return f"{head}: {self.again['mean']:.4f} {where} {bounds}, where {CONFIDENCE:.0%} of {range_of} lie{same}"

    def sentences(self) -> list[str]:
        """Both sides' scores, and the verdict."""
        sides = [
            f"{side}: {self.objective} {format_mean_sd(held)} on {self.split}, "
            f"seed{'s' * (len(held['seeds']) > 1)} {', '.join(map(str, held['seeds']))}"
            for side, held in (("there", self.before), ("here", self.again))
        ]
        return [*sides, self.verdict]


def reproduce_bundle(
    path: Path,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    folder: Path | None = None,
    listener: RunListener | None = None,
) -> Reproduction:
    """A bundle's best values, trained anew in a store of its own in `folder` (`<name>-reproduced`), and compared.

    Nothing is searched. The seeds are the study's own, or 0 to `seeds` - 1. What was made stays: interrupted, the
    same call goes on. Code that the checkpoint brings runs only where the overrides say so, whatever the bundle does.

    Raises HpoError before anything is made: no bundle, a study that cannot be, other data than the bundle's (it says
    which rows); TrainingError where no run comes to its end.
    """
    listener = listener or RunListener()
    bundle = read_bundle(path)
    folder = folder or Path(f"{bundle.manifest.study}-reproduced")
    with _prepared(bundle, folder, listener) as file:
        seeded = [f"final.seeds={seeds}"] if seeds is not None else []
        spec = load_study(file, (*overrides, *seeded))
        url = default_storage_url(folder)
        _check_values(bundle, spec)
        _check_before(bundle, spec, url, listener)
    _tell_differences(bundle, spec, listener)
    made = []
    with open_final_runs(spec, url, listener) as final:
        for run in retraining_runs(spec, bundle.best.values):
            made.append(final.make(run, SYSTEM, partial(train_and_predict, final, run, SYSTEM)))
    return judge_reproduction(spec.name, bundle.best, made)


def judge_reproduction(name: str, before: OriginalResult, made: Sequence[FrozenTrial]) -> Reproduction:
    """Whether runs agree with those that a bundle tells of: on test where both have it, else on validation.

    They do where their mean lies in `interval`, or where each seed in common scores the same to the last bit, and no
    more of them failed than there. Raises TrainingError where none came to its end.
    """
    complete = [run for run in made if run.state == TrialState.COMPLETE]
    failed = [str(run.user_attrs["reason"]) for run in made if run.state != TrialState.COMPLETE]
    if not complete:
        raise TrainingError(f"no run came to its end: {failed[0]}")
    split = "test" if before.test and all("test" in run.user_attrs for run in complete) else "validation"
    held = before.test if split == "test" else before.validation
    if held is None:
        raise StudyError(
            "the bundle's runs were trained on the validation rows and scored on test, which is missing here; "
            "--set data.test=PATH names it"
        )
    scores = [float(run.user_attrs[split]["metrics"][before.objective]) for run in complete]
    again = {**summarize_seeds(scores), "seeds": [run.user_attrs["seed"] for run in complete]}
    there, here = dict(zip(held.seeds, held.values, strict=True)), dict(zip(again["seeds"], scores, strict=True))
    shared = sorted(there.keys() & here.keys())
    same = [seed for seed in shared if there[seed] == here[seed]]
    low, high = prediction_interval(held, scores)
    is_within = low is not None and high is not None and low - ROUNDING <= again["mean"] <= high + ROUNDING
    agrees = is_within or (bool(shared) and same == shared)
    return Reproduction(
        name,
        before.objective,
        split,
        held.model_dump(),
        again,
        low,
        high,
        failed,
        same,
        shared,
        reproduced=agrees and len(failed) <= before.failed,
    )


def prediction_interval(before: SeedScores, again: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Where the mean of further runs lies in 95 % of cases, if they are drawn like those before.

    The prediction interval of the mean of m normal values from the mean and sd of n others: Student's t with n - 1
    degrees of freedom, times sd * sqrt(1/n + 1/m) (Hahn & Meeker 1991). The spread is that of the runs before alone:
    pooled with a reproduction where some runs go astray, it would be so wide that these pass. Only where there was
    one run is the spread that of the new ones. None and None where neither side shows any. Seeds in common make the
    means more alike than this allows for, so it errs on the wide side.
    """
    shows = before.values if len(before.values) > 1 else list(again)
    if len(shows) < 2:
        return None, None
    sd = summarize_seeds(shows)["sd"]
    half = stats.t.isf((1 - CONFIDENCE) / 2, len(shows) - 1) * sd * (1 / len(before.values) + 1 / len(again)) ** 0.5
    return float(before.mean - half), float(before.mean + half)


def describe_data_difference(bundle: Bundle, data: TextData) -> str:
    """In what the data here are others than the bundle's, in a few words."""
    if list(data.label_names) != bundle.data.labels:
        return f"labels are {', '.join(data.label_names)}, there {', '.join(bundle.data.labels)}"
    rows = data.rows()
    if rows != bundle.data.rows:
        shown = [
            f"{split} has {rows.get(split, 0):,} rows, there {bundle.data.rows.get(split, 0):,}"
            for split in dict.fromkeys([*bundle.data.rows, *rows])
            if rows.get(split) != bundle.data.rows.get(split)
        ]
        return "; ".join(shown)
    for name, split in data.splits().items():
        pairs = list(zip(row_digests(split), bundle.rows.get(name, []), strict=False))
        other = [row for row, (here, there) in enumerate(pairs) if here != there]
        if other:
            (text, label), (text_there, label_there) = pairs[other[0]]
            names = data.label_names
            what = "its text is another" if text != text_there else f"it is {names[label]!r}, there "
            what += "" if text != text_there else repr(names[label_there])
            return f"{len(other):,} of {len(split):,} rows of {name} differ, the first in place {other[0] + 1}: {what}"
    return "the same numbers of rows, but other texts or labels"


@contextmanager
def _prepared(bundle: Bundle, folder: Path, listener: RunListener) -> Iterator[Path]:
    """The study file in the folder, which is taken away again where it is new and the study cannot be."""
    content = _harmless(bundle, listener)
    file = folder / STUDY_FILE
    is_new = not folder.exists()
    if not is_new and (not folder.is_dir() or any(folder.iterdir())):
        same = file.is_file() and file.read_text(encoding="utf8") == content
        if not same:
            raise StudyError(f"{folder}: is there, and not from this bundle; choose another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf8")
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror}; choose another --output") from None
    try:
        yield file
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _harmless(bundle: Bundle, listener: RunListener) -> str:
    """The bundle's study file without what a stranger should not decide here; what is left out is told."""
    try:
        raw = tomllib.loads(bundle.study.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(bundle.path, "", f"its {STUDY_FILE} is not TOML: {error}") from None
    tables = {name: raw.get(name, {}) for name in ("data", "model", "space", "training")}
    if not all(isinstance(table, dict) for table in tables.values()) or "file" in tables["space"]:
        raise SpecError(bundle.path, "", f"its {STUDY_FILE} is none that hpo has written")
    raw.pop("storage", None)
    tables["training"].setdefault("speed", "exact")  # a bundle without a word on it was made before there were levers
    raw["training"] = tables["training"]
    if tables["model"].pop("trust_remote_code", False):
        listener.notice("code that the checkpoint brings is not run; --set model.trust_remote_code=true runs it")
    if tables["training"].pop("report_to", "none") not in ("none", [], ["none"]):
        listener.notice("training.report_to is left out, which would send figures elsewhere; --set brings it back")
    for key in _PLACES:
        named = tables["data"].get(key)
        for place in named if isinstance(named, list) else [named]:
            if isinstance(place, str) and place.startswith(("/", "~")):
                listener.notice(f"data.{key} is {place}, as the bundle has it; --set data.{key}=PATH names another")
    return tomli_w.dumps(raw)


def _check_values(bundle: Bundle, spec: StudySpec) -> None:
    """Raise SpecError where the best values do not fit the study's own space."""
    space, values = spec.space.parameters, bundle.best.values
    if space.keys() != values.keys():
        raise SpecError(bundle.path, "", "its best values and its search space name different parameters")
    for name, value in values.items():
        if reason := space[name].reason_against(value):
            raise SpecError(bundle.path, "", f"its best {name} {reason}")
    if spec.objective != bundle.best.objective:
        raise SpecError(bundle.path, "", f"its runs are scored by {bundle.best.objective}, its study by another")


def _check_before(bundle: Bundle, spec: StudySpec, url: str, listener: RunListener) -> None:
    """Raise HpoError where data or checkpoint are not those of the bundle, or runs of another kind were begun here."""
    if store_exists(url):
        begun = find_study(open_storage(url), companion_name(spec.name))
        if begun and begun.user_attrs["identity"] != spec.identity():
            raise StudyError(
                f"{spec.file.parent}: was begun with another --set; repeat that, or choose another --output"
            )
        return
    try:
        data = preflight(spec, url).data
    except DataError as error:
        raise DataError(f"{error}; --set data.source=PATH (or data.train, data.test) names the data here") from None
    if data.fingerprint != bundle.data.fingerprint:
        raise DataError(
            f"these are not the data of the bundle: {describe_data_difference(bundle, data)} "
            f"(fingerprint {bundle.data.fingerprint} -> {data.fingerprint}); "
            "bring back those it was made with, or name them: --set data.source=PATH"
        )
    try:
        load_checkpoint(spec, data)
    except ModelError as error:
        raise ModelError(f"{error}; --set model.checkpoint=PATH names where it lies here") from None


def _tell_differences(bundle: Bundle, spec: StudySpec, listener: RunListener) -> None:
    """Say what is not as it was: keys that --set has changed, versions, and the device."""
    given, now = load_study(spec.file).identity(), spec.identity()
    if changed := sorted(key for key in given.keys() | now.keys() if given.get(key) != now.get(key)):
        listener.notice(f"not as in the bundle, by --set: {', '.join(changed)}")
    here = installed_versions()
    there = bundle.best.versions
    if other := [
        f"{name} {there[name]} -> {here.get(name, 'none')}" for name in there if there[name] != here.get(name)
    ]:
        listener.notice(f"other versions than there: {', '.join(other)}; constraints.txt in the bundle has all")
    if bundle.best.device and bundle.best.device != (device := describe_device()):
        listener.notice(f"another device: {bundle.best.device} -> {device}")
