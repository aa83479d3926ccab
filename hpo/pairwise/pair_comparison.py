"""Compare two systems on the same test rows, with the statistics of a study's comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.data.splits import Split
from hpo.errors import DataError, HpoError, SpecError, StoreError, StudyError
from hpo.evaluation.differences import compare_systems
from hpo.evaluation.sealed_split import SealedTestSplit
from hpo.evaluation.statistics import resample_scores
from hpo.pairwise.labelled_rows import LabelledRows, read_test_file, read_test_split
from hpo.pairwise.operands import Operand
from hpo.pairwise.pair_result import PairedSystem, PairResult
from hpo.pairwise.pair_sentences import describe_pair, describe_scope
from hpo.pairwise.paired_runs import PairedRuns, StoredStudy, keep_deployed_run, predict_rows, renumber_runs
from hpo.store.trial_order import sign
from hpo.training.metrics import METRICS, unsuitable_reason

PairProgress = Callable[[float, str], None]  # receives the finished share of a step, and a description


@dataclass(frozen=True)
class PairRequest:
    """What is compared, and on what.

    Attributes:
        file: The test rows; None for the test split of a study.
        objective: The metric; None for that of the first study, or accuracy.
    """

    first: Operand
    second: Operand
    file: Path | None = None
    text: str | None = None
    label: str | None = None
    objective: str | None = None

    @property
    def operands(self) -> tuple[Operand, Operand]:
        """Both systems."""
        return self.first, self.second

    @property
    def chosen_objective(self) -> str:
        """The metric that is compared."""
        of_studies = [operand.study.objective for operand in self.operands if operand.study]
        return self.objective or next(iter(of_studies), "accuracy")


def compare_pair(request: PairRequest, progress: PairProgress) -> PairResult:
    """Compare two systems.

    Two studies with the same test split are compared by all of their final runs, so that the result covers other seeds
    too. Any other pair is compared as it is.

    Raises:
        HpoError: A system or the test rows cannot be used, or do not fit together.
    """
    if request.objective is not None and request.objective not in METRICS:
        raise SpecError("--metric", "", unsuitable_reason(request.objective, 2) or "")
    if request.file is not None:
        return _compare_on_file(request, request.file, progress)
    if request.text is not None or request.label is not None:
        raise HpoError("--text and --label name columns of the test rows in --file; give it, or leave them out")
    studies = [StoredStudy(operand) for operand in request.operands if operand.study]
    if not studies:
        raise HpoError("neither of the two is a study with a test split; give labelled test rows with --file")
    return _compare_stored(request, studies, progress)


def _compare_on_file(request: PairRequest, file: Path, progress: PairProgress) -> PairResult:
    rows = read_test_file(file, request.operands, request.text, request.label)
    _check_objective(request, rows.names)
    predicted = [predict_rows(operand, rows, _describe(operand, progress)) for operand in request.operands]
    ledger = _record_sealed_rows(request, rows) or [
        f"{file.name} has no ledger: hpo cannot tell how often its labels were used to choose one of the two"
    ]
    pair = [predictions.score(rows) for predictions in predicted]
    return _build_result(request, pair, rows.names, str(file), ledger, progress)


def _compare_stored(request: PairRequest, studies: Sequence[StoredStudy], progress: PairProgress) -> PairResult:
    """Compare on the test split of one study, or of two studies that share it."""
    names = studies[0].labels
    _check_objective(request, names)
    where = f"the test split of study {studies[0].operand.name}"
    if len(studies) == 2:
        one, other = studies
        if one.test_fingerprint != other.test_fingerprint:
            raise StudyError(
                f"studies {one.operand.name!r} and {other.operand.name!r} have different test splits, so their runs "
                "cannot be paired; name labelled test rows for both with --file"
            )
        pair = [one.read_runs(), other.read_runs()]
        if all(len(paired.runs.runs) == 1 for paired in pair):  # nothing shows how much seeds matter
            pair = [keep_deployed_run(paired) for paired in pair]
        ledger = [study.record_use(_other(request, study.operand)) for study in studies]
    else:
        (study,) = studies
        rows = read_test_split(study.spec)
        stored = keep_deployed_run(study.read_runs())
        if stored.deployed["label"].tolist() != rows.split.labels:
            raise DataError(f"{where}: its rows have changed since the final runs; restore them, or give --file")
        other_operand = _other(request, study.operand)
        predictions = predict_rows(other_operand, rows, _describe(other_operand, progress))
        ledger = [study.record_use(other_operand)]  # before the labels are used
        pair = [stored, predictions.score(rows)]
        if request.second is study.operand:
            pair.reverse()
    return _build_result(request, pair, names, where, ledger, progress)


def _build_result(
    request: PairRequest,
    pair: Sequence[PairedRuns],
    names: Sequence[str],
    where: str,
    ledger: Sequence[str],
    progress: PairProgress,
) -> PairResult:
    objective, pair = request.chosen_objective, [pair[0], renumber_runs(pair[1])]
    for paired in pair:
        if any(objective not in scores.metrics for scores in paired.runs.scores("test")):
            reason = "needs probabilities" if METRICS[objective].needs_probabilities else "is undefined on these rows"
            raise DataError(f"{paired.operand.name}: has no {objective}, which {reason}; choose another --metric")
    labels = pair[0].deployed["label"].to_numpy()
    runs = [probabilities for paired in pair for probabilities in paired.runs.probabilities(len(names))]
    resampled = resample_scores(objective, labels, runs, progress=progress)
    systems, deployed = [paired.runs for paired in pair], [paired.deployed for paired in pair]
    (difference,) = compare_systems(systems, deployed, resampled, objective, sign(METRICS[objective].direction))
    result = PairResult(
        objective=objective,
        direction=METRICS[objective].direction,
        labels=list(names),
        rows=len(labels),
        test=where,
        covers="rows" if all(system.is_deterministic for system in systems) else "rows and seeds",
        systems=[_summarize(paired, objective) for paired in pair],
        difference=difference,
        assumptions=[f"{paired.operand.name}: assuming {paired.assumed}" for paired in pair if paired.assumed],
        ledger="; ".join(ledger),
        scope="",
        verdict="",
    )
    return result.model_copy(update={"scope": describe_scope(result), "verdict": describe_pair(result)})


def _summarize(paired: PairedRuns, objective: str) -> PairedSystem:
    summary = paired.runs.summarize(0.0, objective)
    return PairedSystem(
        name=paired.operand.name,
        kind=paired.operand.kind,
        source=paired.source,
        seeds=[] if paired.runs.is_deterministic else summary.seeds,
        has_probabilities="probability_0" in paired.deployed,
        test=summary.test,
        per_class=summary.per_class,
        confusion=summary.confusion,
    )


def _check_objective(request: PairRequest, names: Sequence[str]) -> None:
    if reason := unsuitable_reason(request.chosen_objective, len(names)):
        raise SpecError("--metric", "", reason)


def _record_sealed_rows(request: PairRequest, rows: LabelledRows) -> list[str]:
    """Record the use of a study's test split if the file has just its rows; return what was recorded."""
    recorded = []
    for operand in request.operands:
        if operand.study is None:
            continue
        try:
            study = StoredStudy(operand)
        except (StoreError, StudyError):  # no store, no final runs or no test split, so no ledger
            continue
        split = Split([study.clean(text) for text in rows.texts], rows.split.labels, rows.split.ids)
        fingerprint = SealedTestSplit(split, rows.names, study.companion, study.spec).fingerprint
        if fingerprint == study.test_fingerprint:
            recorded.append(study.record_use(_other(request, operand)))
    return recorded


def _other(request: PairRequest, operand: Operand) -> Operand:
    return request.second if operand is request.first else request.first


def _describe(operand: Operand, progress: PairProgress) -> Callable[[int, int], None]:
    def on_progress(done: int, count: int) -> None:
        progress(done / count, f"{operand.name}: predicting {done:,} of {count:,}")

    return on_progress
