"""How large a network is, to compare with the published numbers."""

import jax

from fer_jax.models.resnet_v2 import ResNetV2, block_position


def parameter_count(params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def multiply_adds(model: ResNetV2, image_size: int, start: str = "input", stop: str = "features") -> int:
    """Multiply-adds of the convolutions between two cuts, for one square image."""
    total, size, width = 0, image_size, 3
    chosen = model.cuts[model.position(start) : model.position(stop)]
    for cut in model.cuts[: model.position(stop)]:
        if cut == "input":
            size = (size + 1) // 2
            cost = size**2 * model.stem_kernel**2 * width * model.stem_width
            width = model.stem_width
            size = (size + 1) // 2 if model.stem_pool else size
        elif cut.startswith("post"):
            continue
        else:
            stage, block = block_position(cut)
            inner = model.widths[stage]
            last = block == model.depths[stage] - 1 and stage < len(model.depths) - 1
            out = (size + 1) // 2 if last else size
            cost = size**2 * width * inner + out**2 * (9 * inner**2 + 4 * inner**2)
            if block == 0:
                cost += out**2 * width * 4 * inner
            width, size = 4 * inner, out
        total += cost if cut in chosen else 0
    return total
