"""Deploy champions on KServe: `python -m serving.deployer --artifacts s3://BUCKET/PATH`, in a pod."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rewardlab.home import DEFAULT_NAME, webhook_secret
from serving.logs import set_up


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy until SIGTERM or SIGINT, and return the exit code."""
    options = _parser().parse_args(arguments)
    set_up("warning")
    try:
        _run(options)
    except (OSError, ValueError) as error:
        print(f"deployer: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from serving.deployer.watch import Watch

    parser = argparse.ArgumentParser(prog="python -m serving.deployer", description=__doc__)
    add = parser.add_argument
    add("--name", default=DEFAULT_NAME, help="registered model (default: %(default)s)")
    add("--template", type=Path, required=True, help="InferenceService without a version, JSON")
    add("--artifacts", required=True, help="where KServe reads MLflow's artifacts, such as s3://BUCKET/PATH")
    add("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")  # noqa: S104 (a pod's)
    add("--port", type=int, default=8090, help="port of webhook and health (default: %(default)s)")
    add("--seconds", type=float, default=30.0, help="how often to look without a webhook (default: %(default)s)")
    watch = parser.add_argument_group("what a canary must show")
    for field in fields(Watch):
        name = f"--{field.name.replace('_', '-')}"
        watch.add_argument(name, type=type(field.default), default=field.default, help="default: %(default)s")
    return parser


def _run(options: argparse.Namespace) -> None:
    import httpx
    import uvicorn

    from rewardlab.files import read_json
    from rewardlab.mlflow_rest import RestRegistry
    from serving.deployer.deployer import Deployer, Job
    from serving.deployer.kube import Kube
    from serving.deployer.pods import TIMEOUT_SECONDS
    from serving.deployer.watch import Watch
    from serving.deployer.webhook import Reconciler, app_of

    secret = webhook_secret(os.environ)
    watch = Watch.from_dict({field.name: getattr(options, field.name) for field in fields(Watch)})
    job = Job(name=options.name, template=read_json(options.template), artifacts=options.artifacts, watch=watch)
    kube = Kube.of_pod(remedy="see deploy/base/deployer")
    registry = RestRegistry.of_environment()
    pods = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
    deployer = Deployer(job, registry=registry, kube=kube, pods=pods)
    app = app_of(Reconciler(deployer.step, seconds=options.seconds), secret)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False, server_header=False)


if __name__ == "__main__":
    sys.exit(main())
