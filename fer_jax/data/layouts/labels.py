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
        self._spelled = list(names)
        self._kind: type | None = None
        self._seen: dict[str, str] = {}  # by the spelling

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
            if self.names and name not in self.names:
                raise UserError(f"{where} has label {value!r}; it may be one of {', '.join(self.names)}")
        elif value < 0 or (self.names and value >= len(self.names)):
            most = f"0 to {len(self.names) - 1}" if self.names else "from 0"
            raise UserError(f"{where} has label {value}; it may be {most}")
        else:
            name = self.names[value] if self.names else f"class {value}"
        self._seen[str(value)] = name
        return name

    def ordered(self) -> list[str]:
        """Returns the class names: in the order of the numbers, else of the alphabet."""
        if self._kind is str:
            return self.names or sorted(set(self._seen.values()))
        return self.names or sorted(set(self._seen.values()), key=lambda name: int(name.removeprefix("class ")))

    def notes(self) -> list[str]:
        """Returns what could not be determined, and which spellings are one class."""
        unnamed = self._kind is int and not self.names
        notes = ["nothing names the labels: classes are called by their numbers"] if unnamed else []
        pairs = zip(self.names, self._spelled, strict=True) if self.names else ((v, k) for k, v in self._seen.items())
        spellings: dict[str, list[str]] = {}
        for name, spelling in pairs:
            spellings.setdefault(name, []).append(spelling)
        several = {name: ", ".join(map(repr, each)) for name, each in spellings.items() if len(each) > 1}
        return notes + [f"labels {each} are one class, {name}" for name, each in several.items()]
