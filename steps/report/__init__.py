"""The report of a run: one HTML page that says what was decided, how sure that is, and what got worse."""

from steps.report.outcome import PACKAGES, ReportConfig, ReportReport, conclude, report
from steps.report.page import render
from steps.report.record import Record

__all__ = ["PACKAGES", "Record", "ReportConfig", "ReportReport", "conclude", "render", "report"]
