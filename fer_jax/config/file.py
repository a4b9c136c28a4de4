"""A config file as the command line names it: `--config=FILE` with `--config.key=value` overrides.

`fer_jax:NAME` is a config that ships with the package: fer_jax/configs is configs/ of the repository, by a link.
"""

import pathlib

import ml_collections
from absl import flags
from ml_collections import config_flags

from fer_jax.config import flatten, missing, nested, rules, suggestion
from fer_jax.config.places import expanded
from fer_jax.errors import UserError

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
    config = _read(str(expanded(name, "--config")))
    # An override may be of a key that the file leaves out, and which those are depends on data set and backbone.
    for override in overrides:
        if override.startswith(("--config.data.name=", "--config.model.name=")):
            config = _overridden(config, override)
    with config.unlocked():
        config.update(nested(missing(config)))
    known = flatten(config)
    for override in overrides:
        key, equals, _ = override.removeprefix("--config.").partition("=")
        if key not in known:
            raise UserError(f"config.{key} does not exist{suggestion(key, known)}")
        if not equals:
            raise UserError(f"--config.{key} has no value; write --config.{key}=VALUE")
        config = _overridden(config, override)
    return config


def _path(name: str) -> str:
    """Returns FILE[:argument], where the name may be fer_jax:NAME[:argument]."""
    if not name.startswith("fer_jax:"):
        return name
    shipped, colon, argument = name.removeprefix("fer_jax:").partition(":")
    names = sorted(path.stem for path in SHIPPED.glob("*.py"))
    if shipped not in names:
        raise UserError(f"--config fer_jax:{shipped} does not exist; it may be fer_jax: and one of {', '.join(names)}")
    return f"{SHIPPED / shipped}.py{colon}{argument}"


def _read(name: str) -> ml_collections.ConfigDict:
    """Executes FILE[:argument] and returns its config."""
    values = flags.FlagValues()
    argv = ["fer-jax", f"--config={name}"]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    file = name.partition(":")[0]
    try:
        values(argv)
    except Exception as error:  # a config file is a program: anything may go wrong in it
        # What get_config raises is the end of a traceback in the message.
        kind = "" if isinstance(error, flags.IllegalFlagValueError) else f"{type(error).__name__}: "
        raise UserError(f"--config {file}: {kind}{(str(error).strip() or 'no message').splitlines()[-1]}") from None
    if not isinstance(values.config, ml_collections.ConfigDict):
        raise UserError(
            f"--config {file}: get_config returns {type(values.config).__name__}; it may return a ConfigDict"
        )
    return values.config


def _overridden(config: ml_collections.ConfigDict, override: str) -> ml_collections.ConfigDict:
    """Applies one `--config.key=value`."""
    values = flags.FlagValues()
    argv = ["fer-jax", override]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    try:
        values(argv)
    except Exception:  # the value is of another type, or the key is a group
        key, _, value = override.removeprefix("--config.").partition("=")
        flat = flatten(config)
        rule = rules(flat.get("data.name"), flat.get("model.name")).get(key)
        may = f"it may be {rule.words}" if rule else "it is a group of keys"
        raise UserError(f"config.{key} is {value!r}; {may}") from None
    return values.config
