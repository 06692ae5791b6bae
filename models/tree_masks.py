"""Which token of a row of trees sees which: the one definition behind every way to compute attention.

Shapes: T tokens of the row; of one tree P tokens of the prompt, R of all its responses, S = P + R.
"""
# ruff: noqa: N815

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from models.trees import Tree

Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Of batch, head, the place that looks and the place looked at (the last two broadcast): whether it sees it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeMask:
    """Who sees whom in one tree, as what is added to logits; `prompt_PP` is None where that is everything before."""

    prompt_PP: Tensor | None
    responses_RS: Tensor


class Row:
    """Trees side by side, and the masks of their attention by window, made once for all layers."""

    def __init__(self, trees: Sequence[Tree], device: torch.device) -> None:
        branches = [
            (at, branch, length, tree.start + sum(tree.responses[: branch - 1]) if branch else tree.start)
            for at, tree in enumerate(trees)
            for branch, length in enumerate((tree.prompt, *tree.responses))
        ]
        tree, branch, length, offset = torch.tensor(branches).unbind(1)
        self.trees = trees
        self._tree_T = tree.repeat_interleave(length).to(device)
        self._branch_T = branch.repeat_interleave(length).to(device)
        self._position_T = (torch.arange(int(length.sum())) - offset.repeat_interleave(length)).to(device)
        self._masks: dict[tuple[int | None, torch.dtype], list[TreeMask]] = {}
        self._blocks: dict[int | None, BlockMask] = {}

    @property
    def windows(self) -> set[int | None]:
        """Return the windows that layers have asked for."""
        return {window for window, _ in self._masks} | set(self._blocks)

    def masks(self, window: int | None, dtype: torch.dtype) -> list[TreeMask]:
        """Return each tree's mask for logits of a dtype; a window reaches back `window` - 1 positions."""
        if (window, dtype) not in self._masks:
            self._masks[window, dtype] = [self._mask(tree, window, dtype) for tree in self.trees]
        return self._masks[window, dtype]

    def blocks(self, window: int | None) -> BlockMask:
        """Return the mask of the whole row in blocks, for FlexAttention."""
        if window not in self._blocks:
            size, device = len(self._tree_T), self._tree_T.device
            rule, on_gpu = self.rule(window), device.type == "cuda"
            self._blocks[window] = create_block_mask(rule, None, None, size, size, device=device, _compile=on_gpu)
        return self._blocks[window]

    def rule(self, window: int | None) -> Sees:
        """Return who sees whom: back along the own branch and through the own prompt."""
        tree_T, branch_T, position_T = self._tree_T, self._branch_T, self._position_T

        def sees(_batch: Tensor, _head: Tensor, looks: Tensor, seen: Tensor) -> Tensor:
            own = (branch_T[seen] == 0) | (branch_T[seen] == branch_T[looks])
            back = position_T[looks] - position_T[seen]
            visible = (tree_T[looks] == tree_T[seen]) & own & (back >= 0)
            return visible if window is None else visible & (back < window)

        return sees

    def _mask(self, tree: Tree, window: int | None, dtype: torch.dtype) -> TreeMask:
        place_S = torch.arange(tree.start, tree.end, device=self._tree_T.device)
        none = place_S[:0]
        added_SS = additive(self.rule(window)(none, none, place_S[:, None], place_S[None, :]), dtype)
        plain = window is None or tree.prompt <= window
        prompt_PP = None if plain else added_SS[: tree.prompt, : tree.prompt]
        return TreeMask(prompt_PP=prompt_PP, responses_RS=added_SS[tree.prompt :])


def additive(sees: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where something is seen, else minus infinity."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, -torch.inf)
