"""What a network computes in: float32, or bfloat16 in convolutions and dense layers.

Parameters, batch statistics, features, logits, losses, gradients and the optimizer are float32 in both.
"""

import jax
import jax.numpy as jnp


def used(choice: str) -> str:
    """What `model.precision` comes to on this device: "auto" is bfloat16 on accelerators, float32 on the CPU."""
    if choice == "auto":
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return choice


def dtype(choice: str) -> type | None:
    """For layers: None computes in what parameters are, float32."""
    return jnp.bfloat16 if used(choice) == "bfloat16" else None
