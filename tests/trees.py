"""Token trees of what a store holds."""

from rewardlab.tokens import TokenTree
from steps.common.tokenstore import StoredGroup


def tree_of(stored: StoredGroup) -> TokenTree:
    """Return a stored group's tree."""
    responses = tuple(tuple(ids.tolist()) for ids in stored.responses)
    return TokenTree(tuple(stored.prompt.tolist()), responses, (False,) * len(responses))
