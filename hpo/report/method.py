"""Report section on how the verdict is reached: its assumptions, and what it does not cover."""

from __future__ import annotations

from hpo.evaluation.verdict import format_amount
from hpo.report.blocks import BulletList, Paragraph, Section
from hpo.results.study_results import StudyResults

METHOD_ANCHOR, METHOD_TITLE = "method", "How the verdict is reached"
DOCUMENTATION = "docs/statistics.md"


def method_section(results: StudyResults) -> Section:
    """List the assumptions of the verdict."""
    anchor, title = METHOD_ANCHOR, METHOD_TITLE
    comparison = results.comparison
    if comparison is None:
        return Section(anchor, title, [Paragraph("There is no comparison yet; see the verdict.")])
    margin = format_amount(comparison.margin, comparison.objective)
    assumptions = [
        f"It holds for texts like the {comparison.rows['test']:,} test rows, for this training split, and for this "
        "search: another search of the same space may find another winner, of which this comparison knows nothing.",
        "Rows are taken to be independent of each other. Several texts of one author or one day are not; data.group "
        "and data.order split such data.",
        "An interval covers other test rows (a bootstrap of the rows that all runs share) and other seeds (the spread "
        "between runs beyond what single rows explain, with Student's t).",
        "Intervals and p-values are corrected together for the number of baselines (Holm), so an interval without 0 "
        "and p below 0.05 are the same statement. The rerun of the winner is a check and not among them.",
        "If fewer than 10 rows differ between two systems, an exact test takes the place of the bootstrap.",
        "A system with a single run that depends on its seed borrows the spread of the other side, which is said with "
        "its interval. A single run on both sides is not tested.",
        f'"Not worse" means: not worse by more than {margin} (final.margin), with 95 % confidence.',
        "Runs that predict one class for every text count in the means. Runs that did not complete have no score.",
        "The winner was chosen on validation and retrained with fresh seeds. No choice of hpo used a test score.",
    ]
    return Section(anchor, title, [BulletList(assumptions), Paragraph(f"Formulas and sources: {DOCUMENTATION}.")])
