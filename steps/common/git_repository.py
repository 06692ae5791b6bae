"""A git repository as git itself sees it: one on this machine, or a clone of a URL."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from steps.common.credentials import git_environment


@dataclass(frozen=True, slots=True)
class GitRepository:
    """A repository's folder, and the environment in which git may reach where it was cloned from."""

    folder: str
    environment: Mapping[str, str]

    def git(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run git there; how it ended is the caller's to judge."""
        command = ["git", "-C", self.folder, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(self.environment))  # noqa: S603

    def commit(self, revision: str) -> str:
        """Return the commit of a revision, of HEAD where it is "", or nothing where there is no such revision.

        In a clone the branches of where it comes from are those of `origin`.
        """
        for name in (revision or "HEAD", f"origin/{revision}"):
            found = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            if found.returncode == 0:
                return found.stdout.strip()
        return ""


def is_url(repository: str) -> bool:
    """Say whether a repository is named by a URL, or as ssh names it (`git@host:path`)."""
    return "://" in repository or repository.startswith("git@")


@contextmanager
def opened(repository: str, *, whole: bool) -> Iterator[GitRepository]:
    """Yield a repository for as long as the block lasts.

    Args:
        repository: a folder, or a URL, which is cloned.
        whole: whether a clone has files; without, git brings the few that are asked for.

    Raises:
        ValueError: it cannot be cloned; the message holds what git said.
    """
    with git_environment() as environment:
        if not is_url(repository):
            yield GitRepository(repository, environment)
            return
        with tempfile.TemporaryDirectory() as folder:
            how = [] if whole else ["--no-checkout", "--filter=blob:none"]
            clone = GitRepository(folder, environment)
            done = clone.git("clone", "--quiet", *how, "--", repository, folder)
            if done.returncode:
                raise ValueError(f"git cannot clone {repository}: {done.stderr.strip()[-500:]}")
            yield clone
