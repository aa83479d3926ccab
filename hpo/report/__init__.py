"""The report of a study: one HTML page that needs no other file, and the same as Markdown."""

from hpo.report.render import write_report

__all__ = ["write_report"]
