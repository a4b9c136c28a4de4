"""The precision of a network's computation: float32, or bfloat16 in convolutions and dense layers.

Parameters, batch statistics, features, logits, losses, gradients and the optimizer are float32 in both.
"""

import jax
import jax.numpy as jnp


def used(choice: str) -> str:
    """Returns the precision that `model.precision` means on this device: "auto" is bfloat16 on accelerators, else
    float32.
    """
    if choice == "auto":
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return choice


def dtype(choice: str) -> type | None:
    """Returns the dtype for layers; None computes in that of the parameters, float32."""
    return jnp.bfloat16 if used(choice) == "bfloat16" else None
