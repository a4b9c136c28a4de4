"""Class-incremental facial-expression learning in JAX.

`import fer_jax as fj` is the Python interface (docs/python.md). What it names is imported when it is first used, so
that the import itself takes no time.
"""

import importlib

__version__ = "0.1.0"

_FUNCTIONS = {
    **dict.fromkeys(("load_config", "load_data", "train", "sweep"), "fer_jax.interface.experiments"),
    **dict.fromkeys(("Run", "load_run", "predict"), "fer_jax.interface.run"),
}
_MODULES = ("augment", "classifiers", "corrections", "losses", "methods", "metrics", "objectives", "protocol", "replay",
            "rng", "statistics")  # fmt: skip


def __getattr__(name: str):
    """Imports what the interface names."""
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"fer_jax.{name}")
    raise AttributeError(f"module 'fer_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists the interface beside what is imported already."""
    return sorted({*globals(), *_FUNCTIONS, *_MODULES})
