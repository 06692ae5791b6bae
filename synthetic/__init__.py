"""The seeded synthetic preference data, whose truth a program knows."""

from synthetic.make import MakeDataConfig, MakeDataReport, make_data

__all__ = ["MakeDataConfig", "MakeDataReport", "make_data"]
