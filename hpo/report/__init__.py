"""The report of a study: one HTML page that needs no other file, and the same as Markdown."""

from hpo.report.render import build_report, check_report_files, write_report

__all__ = ["build_report", "check_report_files", "write_report"]
