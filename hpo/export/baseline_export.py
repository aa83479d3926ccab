"""Export the model of a baseline as a model folder: fitted again, checked, and with a card of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hpo.errors import StudyError
from hpo.evaluation.final_runs import FinalRuns
from hpo.evaluation.refitting import find_baseline_runs, refit_run
from hpo.evaluation.retraining import describe_model
from hpo.evaluation.winner import choose_deployed_run
from hpo.export.baseline_card import baseline_card
from hpo.export.formats import CARD_FILE, ExportFormat, write_export
from hpo.results.best_config import stored_data
from hpo.results.study_results import StudyResults
from hpo.store.run_record import RunRecord
from hpo.training.model_folder import WORD_COUNTS, write_model_info


def read_baseline_runs(results: StudyResults, name: str) -> list[RunRecord]:
    """Return the complete runs of a baseline; raise StudyError if its model cannot be exported."""
    if results.companion is None:
        raise StudyError(
            f"study {results.search.study_name!r} has no runs of baselines; "
            f"`{results.spec.command('baseline', name)}` makes them"
        )
    return find_baseline_runs(results.spec, results.search, results.companion, name)


def export_baseline(
    results: StudyResults,
    final: FinalRuns,
    name: str,
    runs: list[RunRecord],
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the model of a baseline to `output`, or into `export/` in the study's folder, and return the path.

    The path is checked before the model is fitted. Raises StudyError as `export_format` and `refit_run` do.
    """
    write = partial(_write_baseline, final=final, name=name, runs=runs)
    export = ExportFormat(f"model-{name.replace('/', '-')}", write, is_folder=True)
    return write_export(results, export, output, overwrite)


def _write_baseline(results: StudyResults, target: Path, final: FinalRuns, name: str, runs: list[RunRecord]) -> None:
    run = choose_deployed_run(final.spec, runs, final.direction, None)
    assert run is not None  # only a seed that is asked for may be missing
    model = refit_run(final, run, name)
    model.write(target)
    info = describe_model(final, run, model.max_length, model.kind, name)
    write_model_info(target, info)
    notices = stored_data(results).notices
    if model.kind == WORD_COUNTS:  # those about the data come first, and then those about the checkpoint
        notices = notices[: len(final.data.notices)]
    (target / CARD_FILE).write_text(baseline_card(results, info, run, len(runs), notices), encoding="utf8")
