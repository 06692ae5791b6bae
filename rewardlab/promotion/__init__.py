"""The promotion log: who is in charge of a registered model, by append-only entries in its registry.

MLflow's aliases are last-writer-wins. What MLflow does atomically is to number the versions of a registered model, so
the log of `NAME` is the registered model `NAME.log`, and each of its versions is an entry, written whole in one call.
An entry names the one it follows; the first to follow an entry is accepted and any other is void. Aliases are a
projection of the log: readers ask the log, and anyone may set an alias right. `rewardlab.mlflow_rest` keeps it
without mlflow.
"""

from rewardlab.promotion.entry import Action, Entry, report_digest
from rewardlab.promotion.log import Line, Log, LogError, log_name, replay
from rewardlab.promotion.moving import StaleError, Store, move, project
from rewardlab.promotion.reading import ClientReader, Reader, alias_version, alias_versions, client_log, read

__all__ = [
    "Action",
    "ClientReader",
    "Entry",
    "Line",
    "Log",
    "LogError",
    "Reader",
    "StaleError",
    "Store",
    "alias_version",
    "alias_versions",
    "client_log",
    "log_name",
    "move",
    "project",
    "read",
    "replay",
    "report_digest",
]
