"""Words in the code: public docstrings start with a verb in the third person, and one word stands for one concept."""

import ast
import pathlib

import pytest

import fer_jax

PACKAGE = pathlib.Path(fer_jax.__file__).parent
# A new verb is added here by hand, so that no noun that ends in "s" passes for one.
VERBS = """
Adds Allows Answers Assembles Averages Blurs Broadcasts Builds Calls Checks Chooses Claims Closes Collects Compares
Computes Converts Copies Corrects Counts Covers Crops Darkens Delays Derives Describes Draws Encodes Ends Estimates
Fills Finds Fits Flips Formats Gives Groups Handles Imports Joins Learns Lists Loads Locks Logs Makes Maps Marks
Measures Merges Moves Multiplies Numbers Opens Overlays Paints Parses Prepares Prints Puts Raises Ranks Reads Records
Releases Removes Renders Resizes Restores Retains Returns Rotates Runs Saves Scales Scores Searches Selects Sends Sets
Shows Shuffles Splits Stacks Starts Stores Streams Sums Takes Teaches Tiles Times Trains Waits Watches Writes Yields
Zooms
""".split()  # noqa: SIM905

# A memory rule selects, a checkpoint is saved, a policy retains, exemplars are stored: none of them "keeps".
MANY_MEANINGS = {"keep", "keeps", "kept", "keeping"}


def _is_property(function: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def _public(body: list[ast.stmt], prefix: str = ""):
    """Yields (name, node) of the public classes and functions; what is nested in a function is private to it."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{node.name}.")


def _faults(source: str) -> list[str]:
    faults = []
    for name, node in _public(ast.parse(source).body):
        text = ast.get_docstring(node)
        if not text:
            faults.append(f"{name} has no docstring")
        elif isinstance(node, ast.ClassDef) or _is_property(node):
            continue
        elif text.split()[0].rstrip(",") not in VERBS:
            faults.append(f"{name}: {text.splitlines()[0]}")
    return faults


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_docstrings_start_with_a_verb(path):
    assert _faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("def f():\n    return 1", "f has no docstring"),
        ("def f():\n    'The mean.'", "f: The mean."),
        ("def f():\n    'Images of a class.'", "f: Images of a class."),
        ("class A:\n    'A thing.'\n    def f(self):\n        'Whether it is.'", "A.f: Whether it is."),
        ("class A:\n    def _f(self): ...", "A has no docstring"),
    ],
)
def test_a_fault_is_found(body, fault):
    assert _faults(body) == [fault]


def test_a_noun_phrase_is_enough_for_a_property_and_private_names_are_free():
    assert (
        _faults("class A:\n    'A thing.'\n    @property\n    def f(self):\n        'The mean.'\ndef _g(): ...") == []
    )


def _defined(source: str) -> set[str]:
    """Returns the names that a file gives to its variables, arguments, functions, classes and fields."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_name_has_a_word_of_many_meanings(path):
    names = _defined(path.read_text(encoding="utf-8"))
    assert [name for name in sorted(names) if MANY_MEANINGS & set(name.lower().split("_"))] == []


def test_names_of_every_kind_are_looked_at():
    source = "class A:\n    a: int\n    def f(self, b):\n        for c in b:\n            d, e = c"
    assert _defined(source) == {"A", "a", "f", "self", "b", "c", "d", "e"}
