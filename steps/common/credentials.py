"""Credentials of a step on a cluster: variables of rewardlab's own become those that boto3 and git read.

A step of Kubeflow shares its container with Kubeflow's launcher, which brings artifacts to Kubeflow's own store: it
would take `AWS_*` for its own. git gets no secret on a command line, which every process of the machine may read.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

S3_ENDPOINT = "REWARDLAB_S3_ENDPOINT"
S3_ACCESS_KEY = "REWARDLAB_S3_ACCESS_KEY"
S3_SECRET_KEY = "REWARDLAB_S3_SECRET_KEY"  # noqa: S105  # pragma: allowlist secret (its name)
GIT_USERNAME, GIT_PASSWORD = "REWARDLAB_GIT_USERNAME", "REWARDLAB_GIT_PASSWORD"
GIT_SSH_KEY, GIT_KNOWN_HOSTS = "REWARDLAB_GIT_SSH_KEY", "REWARDLAB_GIT_KNOWN_HOSTS"
_AWS = {S3_ENDPOINT: "AWS_ENDPOINT_URL", S3_ACCESS_KEY: "AWS_ACCESS_KEY_ID", S3_SECRET_KEY: "AWS_SECRET_ACCESS_KEY"}
_HELPER = f'!f() {{ test "$1" = get && echo "username=${GIT_USERNAME}" && echo "password=${GIT_PASSWORD}"; }}; f'


def take_s3_credentials() -> None:
    """Let this process and those it starts reach rewardlab's S3, if variables name one."""
    for ours, aws in _AWS.items():
        if value := os.environ.get(ours):
            os.environ[aws] = value


@contextmanager
def git_environment() -> Iterator[Mapping[str, str]]:
    """Yield the environment of a git that may clone private repositories, and that never asks a person.

    Over https it answers with user and password, over ssh with a key, from the variables above. Hosts that known hosts
    do not name are refused.
    """
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    if os.environ.get(GIT_PASSWORD):
        environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": _HELPER}
    if key := os.environ.get(GIT_SSH_KEY):
        with tempfile.TemporaryDirectory() as folder:
            files = {"key": key, "known_hosts": os.environ.get(GIT_KNOWN_HOSTS, "")}
            for name, text in files.items():
                path = Path(folder) / name
                path.touch(mode=0o600)
                path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
            options = (
                f"-i {folder}/key -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={folder}/known_hosts"
            )
            yield {**environment, "GIT_SSH_COMMAND": f"ssh {options}"}
    else:
        yield environment
