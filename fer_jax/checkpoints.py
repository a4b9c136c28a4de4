"""Orbax checkpoints: one step an increment, each with arrays (`state`) and plain values (`meta`).

What is measured goes into `meta` as soon as it is measured, so results are only ever read from checkpoints and a
resumed run reports what an uninterrupted one does.
"""

import logging
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

logging.getLogger("absl").setLevel(logging.WARNING)


class Checkpoints:
    """The finished steps of one cell of an experiment, such as one method on one class order."""

    def __init__(self, directory: pathlib.Path):
        options = ocp.CheckpointManagerOptions(create=True)
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def steps(self) -> list[int]:
        """Finished steps, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, meta: dict) -> None:
        """Saves a pytree of arrays and a JSON-able dict; returns while the write goes on."""
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        self._manager.save(step, args=args)

    def meta(self, step: int) -> dict:
        """The plain values of a finished step."""
        self._manager.wait_until_finished()
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]

    def restore(self, step: int, like: Any) -> Any:
        """The arrays of a finished step, in the structure, shapes and types of `like`."""
        self._manager.wait_until_finished()
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        return self._manager.restore(step, args=args)["state"]

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()
