"""Write and seal the bundle: what is evaluated, registered and served."""

from steps.export.export import ExportConfig, ExportReport, ExportSettings, export

__all__ = ["ExportConfig", "ExportReport", "ExportSettings", "export"]
