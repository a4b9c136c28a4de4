"""Labels as files of model hubs have them: text, or numbers that may have names."""

from collections.abc import Sequence

from fer_jax.data import table
from fer_jax.data.listing import class_name
from fer_jax.errors import UserError


class Labels:
    """The classes of a data set whose labels are all text, or all numbers.

    names: of the numbers, in order; empty where nothing names them.
    """

    def __init__(self, names: Sequence[str] = ()):
        self.names = [class_name(name) for name in names]
        self._kind: type | None = None
        self._seen: set[str] = set()

    def name_of(self, value, where: str) -> str:
        """Returns the class of a label.

        Args:
          where: file and row, for messages.

        Raises:
          UserError: it is neither text nor a whole number from 0, has no name, or others are of the other kind.
        """
        if isinstance(value, float) and value.is_integer():  # how pandas writes whole numbers beside missing ones
            value = int(value)
        kind = str if isinstance(value, str) else int
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UserError(f"{where} has label {value!r}; it may be a text or a whole number from 0")
        if self._kind not in (None, kind):
            raise UserError(f"{where} has label {value!r}; labels may be all text or all whole numbers")
        self._kind = kind
        if kind is str:
            name = table.label(value, where)
            if not name:
                raise UserError(f"{where} has an empty label; it may be a class")
        elif value < 0 or (self.names and value >= len(self.names)):
            most = f"0 to {len(self.names) - 1}" if self.names else "from 0"
            raise UserError(f"{where} has label {value}; it may be {most}")
        else:
            name = self.names[value] if self.names else f"class {value}"
        self._seen.add(name)
        return name

    def ordered(self) -> list[str]:
        """Returns the class names: in the order of the numbers, else of the alphabet."""
        if self._kind is str:
            return [*self.names, *sorted(self._seen - set(self.names))]
        return self.names or sorted(self._seen, key=lambda name: int(name.removeprefix("class ")))

    def note(self) -> str | None:
        """Returns what could not be determined."""
        unnamed = self._kind is int and not self.names
        return "nothing names the labels: classes are called by their numbers" if unnamed else None
