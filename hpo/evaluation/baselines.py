"""BASELINES: the systems that the winner is compared with. Their runs are stored like the winner's.

Add a baseline with a row in BASELINES, or from an installed package with an entry point in the group `hpo.baselines`
that names a `Baseline`. A study file adds systems that people have already, see existing_baselines.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from optuna.trial import FrozenTrial

from hpo.errors import StudyError, TrainingError, suggest_name, unknown_name
from hpo.evaluation.existing_baselines import check_existing_system, fit_existing_model, read_existing_predictions
from hpo.evaluation.final_runs import FINE_TUNE, FinalRuns, RunKey, RunOutcome, predict_splits
from hpo.evaluation.pretrained_baseline import fit_pretrained, refit_pretrained
from hpo.evaluation.refitted_model import RefittedModel
from hpo.evaluation.retraining import refit_fine_tuned, train_and_predict
from hpo.evaluation.system_identity import resolve_source
from hpo.evaluation.text_baselines import TEXT_BASELINES, FitDetails, TextBaseline
from hpo.evaluation.winner import find_winner, select_candidates
from hpo.evaluation.word_count_files import write_word_counts
from hpo.plugins import load_entry_points
from hpo.search.preflight import load_study_data
from hpo.store.run_record import run_attributes
from hpo.study.spec import StudySpec
from hpo.study.spec_tables import RERUN, ExistingModel, ExistingPredictions
from hpo.training.model_folder import WORD_COUNTS

ENTRY_POINT_GROUP = "hpo.baselines"
RERUN_SEED_OFFSET = 1_000_003  # added to the final seeds for runs that must share none of them with the winner
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Baseline:
    """One system to compare with.

    Attributes:
        fit: Fits one run and predicts validation and test; called with the shared final runs, the run and the name.
        fine_tunes: Whose hyperparameters the runs are fine-tuned with: those of the search space's first starting
            point, or the winner's. None if the baseline has no hyperparameters of a search space.
        is_stochastic: Whether the seed matters, if only for the folds of a cross-validation. If so, there is a run per
            final seed; else one run, with the first seed.
        seed_offset: Added to the final seeds.
        is_default: Whether a study file without `final.baselines` has it.
        refit: Fits a run once more, so that `hpo export --system` can write its model; called as `fit` is. None if
            there is no model to export.
        existing: The system that a study file adds, which hpo does not train.
    """

    fit: Callable[[FinalRuns, RunKey, str], RunOutcome]
    fine_tunes: Literal["starting point", "winner"] | None = None
    is_stochastic: bool = False
    seed_offset: int = 0
    is_default: bool = True
    refit: Callable[[FinalRuns, RunKey, str], RefittedModel] | None = None
    existing: ExistingModel | ExistingPredictions | None = None

    @property
    def uses_checkpoint(self) -> bool:
        """Whether it may use the study's checkpoint: all may but those that count words, and existing systems."""
        return self.fit is not fit_text_baseline and self.existing is None

    @property
    def needs_starting_point(self) -> bool:
        """Whether the search space must name a starting point."""
        return self.fine_tunes == "starting point"

    @property
    def needs_search(self) -> bool:
        """Whether the search must have a best trial."""
        return self.fine_tunes == "winner"

    def plan_runs(self, name: str, spec: StudySpec, winner: Values | None) -> list[RunKey]:
        """Return the runs of this baseline, in the order of their seeds.

        Args:
            name: Its name in the table.
            spec: The study.
            winner: The winner's hyperparameters, if they are known.

        Raises:
            SpecError: It needs a starting point, and the search space has none.
            StudyError: It needs the winner's values, and `winner` is None.
            DataError, ModelError: It is an existing system that is not there.
        """
        if self.existing is not None:  # it was not trained on these rows, so it has a score on validation in any case
            source = resolve_source(self.existing, spec)
            return [RunKey(name, spec.final.seed_list[0], "train", source=source)]
        seeds = spec.final.seed_list if self.is_stochastic else spec.final.seed_list[:1]
        if self.fine_tunes is None:
            return [RunKey(name, seed, spec.final.train_on) for seed in seeds]
        values = self._choose_values(name, spec, winner)
        return [RunKey(FINE_TUNE, (seed + self.seed_offset) % 2**32, spec.final.train_on, values) for seed in seeds]

    def _choose_values(self, name: str, spec: StudySpec, winner: Values | None) -> Values:
        if self.needs_starting_point:
            if not spec.space.known_good:
                problem = f"baseline {name} needs a known_good start, of which the search space has none"
                raise spec.error("", f"{problem}; add a table [[space.known_good]], or leave {name} out")
            return spec.space.known_good[0].values  # what it leaves out stays at [training] or the library's default
        if winner is None:
            raise StudyError(
                f"baseline {name} needs the best trial of the search; run `{spec.command('search')}` first"
            )
        return winner


def fit_text_baseline(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    """Fit one of TEXT_BASELINES and predict with it."""
    started = time.monotonic()
    model, details = _fit_text_model(final, run, name)
    fit_seconds = time.monotonic() - started
    validation, test, seconds = predict_splits(final, lambda split: model.predict(split.texts))
    times = {"fit": fit_seconds, "predict": seconds, "wall": fit_seconds + seconds}
    return RunOutcome(validation, test, times, run_attributes(effective=details))


def refit_text_baseline(final: FinalRuns, run: RunKey, name: str) -> RefittedModel:
    """Fit one of TEXT_BASELINES once more."""
    model, _ = _fit_text_model(final, run, name)
    write = partial(write_word_counts, model.vectorizer, model.classifier)
    return RefittedModel(WORD_COUNTS, model.predict(final.data.validation.texts), write, max_length=None)


def _fit_text_model(final: FinalRuns, run: RunKey, name: str) -> tuple[TextBaseline, FitDetails]:
    def on_progress(share: float, description: str) -> None:
        final.stop.check()
        final.listener.step(share, description)

    model = TEXT_BASELINES[name](run.seed)
    return model, model.fit(final.train.texts, final.train.labels, on_progress)


BASELINES: dict[str, Baseline] = {
    "majority": Baseline(fit_text_baseline),
    "tfidf-logreg": Baseline(fit_text_baseline, refit=refit_text_baseline),
    "tfidf-logreg-tuned": Baseline(fit_text_baseline, is_stochastic=True, refit=refit_text_baseline),
    "bow-forest": Baseline(fit_text_baseline, is_stochastic=True, refit=refit_text_baseline),
    "nb-svm": Baseline(fit_text_baseline, is_stochastic=True, refit=refit_text_baseline),
    # The checkpoint's own head if it has the study's labels, else a linear probe on its frozen embeddings.
    "pretrained": Baseline(fit_pretrained, refit=refit_pretrained),
    # The first starting point as published: what one would have used without a search.
    "recipe": Baseline(train_and_predict, fine_tunes="starting point", is_stochastic=True, refit=refit_fine_tuned),
    # An A/A check, no competitor: the winner's own values with other seeds. A gain over it is a false positive.
    RERUN: Baseline(
        train_and_predict,
        fine_tunes="winner",
        is_stochastic=True,
        seed_offset=RERUN_SEED_OFFSET,
        is_default=False,
        refit=refit_fine_tuned,
    ),
}


def find_baseline(name: str, spec: StudySpec) -> Baseline:
    """Return a baseline by name: of this package, of the study file, or of an installed package.

    Raises:
        StudyError: The name is unknown.
    """
    if name in BASELINES:
        return BASELINES[name]
    existing = {system.name: system for system in spec.final.existing_systems}
    if name in existing:
        is_model = isinstance(existing[name], ExistingModel)
        return Baseline(fit_existing_model if is_model else read_existing_predictions, existing=existing[name])
    plugins = load_entry_points(ENTRY_POINT_GROUP)
    if name not in plugins:
        raise StudyError(f"baseline {name!r} {unknown_name(name, [*BASELINES, *existing, *plugins])}")
    baseline = plugins[name].load()
    if not isinstance(baseline, Baseline):
        raise StudyError(
            f"baseline {name!r}: {plugins[name].value} is no hpo.evaluation.baselines.Baseline; fix it there"
        )
    return baseline


def baseline_names(spec: StudySpec) -> list[str]:
    """Return the names of the study's baselines.

    A baseline that needs a starting point is left out if the search space has none, unless the study file names it.

    Raises:
        SpecError: A name is unknown.
    """
    names = [*BASELINES, *load_entry_points(ENTRY_POINT_GROUP)]
    for name in spec.final.baselines:
        if isinstance(name, str) and name not in names:
            raise spec.error("final.baselines", f'has "{name}"; {suggest_name(name, names)}')
    wanted = spec.final.baseline_names
    if "baselines" in spec.final.model_fields_set or spec.space.known_good:
        return wanted
    return [name for name in wanted if not BASELINES[name].needs_starting_point]


def check_baselines(spec: StudySpec, names: Sequence[str]) -> None:
    """Raise HpoError if a baseline is unknown, needs a missing starting point, or cannot be compared.

    Nothing is run, and rows are only loaded for existing systems.
    """
    baselines = {name: find_baseline(name, spec) for name in names}
    for name, baseline in baselines.items():
        baseline.plan_runs(name, spec, {})  # the search comes first, so any winner's values will do
    if existing := [baseline.existing for baseline in baselines.values() if baseline.existing]:
        data = load_study_data(spec)
        for system in existing:
            check_existing_system(system, spec, data)


def run_baselines(final: FinalRuns, names: Sequence[str]) -> dict[str, list[FrozenTrial]]:
    """Run baselines and return their runs in the order of their seeds; stored runs are not repeated.

    Raises:
        TrainingError: Some baselines failed; the others were run all the same.
    """
    runs: dict[str, list[FrozenTrial]] = {}
    failures: list[str] = []
    for name in names:
        baseline = find_baseline(name, final.spec)
        try:
            planned = baseline.plan_runs(
                name, final.spec, _find_winning_values(final) if baseline.needs_search else None
            )
            runs[name] = [final.make(run, name, partial(_fit, final, run, name)) for run in planned]
        except TrainingError as error:
            failures.append(str(error))
    if failures:
        raise TrainingError("; ".join(failures))
    return runs


def _fit(final: FinalRuns, run: RunKey, name: str) -> RunOutcome:
    return find_baseline(name, final.spec).fit(final, run, name)


def _find_winning_values(final: FinalRuns) -> Values:
    if final.spec.final.top_k > 1:  # the retrained candidates decide, so all of their runs must be there
        return find_winner(final.spec, final.search, final.study)[0].values
    return select_candidates(final.search, 1)[0].values
