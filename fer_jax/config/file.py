"""A config file as the command line names it: `--config=FILE` with `--config.key=value` overrides.

`fer_jax:NAME` is a config that ships with the package: fer_jax/configs is configs/ of the repository, by a link.
"""

import pathlib

import ml_collections
from absl import flags
from ml_collections import config_flags

from fer_jax.config import flatten, missing, nested, suggestion
from fer_jax.config.places import expanded
from fer_jax.errors import UserError, first_line

SHIPPED = pathlib.Path(__file__).parents[1] / "configs"


def read_config(arguments: list[str]):
    """Reads the config of `--config=FILE[:argument]`, the first argument, and applies the overrides after it.

    FILE may be `fer_jax:NAME`, a config that ships with the package.

    A config file is a Python program and is executed, because it was named on the command line.

    Raises:
      UserError: no such file, a file without get_config, an unknown key, or a value of another type.
    """
    name = _path(arguments[0].removeprefix("--config="))
    file = expanded(name.partition(":")[0], "--config")
    if not file.is_file():
        raise UserError(f"--config {file}: no such file")
    overrides = [a for a in arguments if a.startswith("--config.")]
    config = _parse([f"--config={expanded(name, '--config')}"])
    # An override may be of a key that the file leaves out, and which those are depends on data set and backbone.
    named = [a for a in overrides if a.startswith(("--config.data.name=", "--config.model.name="))]
    config = _parse(named, config) if named else config
    with config.unlocked():
        config.update(nested(missing(config)))
    known = flatten(config)
    for override in overrides:
        key, equals, _ = override.removeprefix("--config.").partition("=")
        if key not in known:
            raise UserError(f"config.{key} does not exist{suggestion(key, known)}")
        if not equals:
            raise UserError(f"--config.{key} has no value; write --config.{key}=VALUE")
    return _parse(overrides, config)


def _path(name: str) -> str:
    """Returns FILE[:argument], where the name may be fer_jax:NAME[:argument]."""
    if not name.startswith("fer_jax:"):
        return name
    shipped, colon, argument = name.removeprefix("fer_jax:").partition(":")
    names = sorted(path.stem for path in SHIPPED.glob("*.py"))
    if shipped not in names:
        raise UserError(f"--config fer_jax:{shipped} does not exist; it may be fer_jax: and one of {', '.join(names)}")
    return f"{SHIPPED / shipped}.py{colon}{argument}"


def _parse(arguments: list[str], config: ml_collections.ConfigDict | None = None) -> ml_collections.ConfigDict:
    """Reads the config of `--config=FILE`, or takes the one given, and applies the overrides."""
    values = flags.FlagValues()
    argv = ["fer-jax", *arguments]
    if config is None:
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    else:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    try:
        values(argv)
        return values.config
    except Exception as error:  # a config file is a program: anything may go wrong in it
        raise UserError(f"--config: {type(error).__name__}: {first_line(error)}") from None
