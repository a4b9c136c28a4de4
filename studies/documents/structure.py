"""The table that docs/architecture.md shows of the code before and after its restructuring."""

from studies.documents.markdown import markdown


def rows(found: dict) -> list[list[str]]:
    """Returns the table's rows: what is counted, before, after."""
    states = found["before"], found["after"]
    names = {
        "upward imports (before: imports inside circles)": "upward_imports",
        "groups of modules that import each other": "cycles",
    }
    figures = {
        "modules at the top of `fer_jax/`": [str(one["modules_at_the_top"]) for one in states],
        "longest function, lines": [str(one["longest_function"]["lines"]) for one in states],
        "most parameters of a function": [str(one["most_parameters"]["parameters"]) for one in states],
        **{name: [str(len(one[key])) for one in states] for name, key in names.items()},
    }
    inside = list(dict.fromkeys(name for one in states for name in one["folders"]))
    ours = sorted((name for name in inside if name.startswith("fer_jax")), key=lambda name: (name != "fer_jax", name))
    for name in (*ours, *(name for name in inside if name not in ours)):
        shown = "`fer_jax/` itself" if name == "fer_jax" else f"`{name}/`"
        figures[f"{shown}: files, lines"] = [_size([one["folders"].get(name)]) for one in states]
    of_package = [[size for name, size in one["folders"].items() if name in ours] for one in states]
    figures["all of `fer_jax/`: files, lines"] = [_size(sizes) for sizes in of_package]
    return [[name, *values] for name, values in figures.items()]


def _size(sizes: list[dict | None]) -> str:
    there = [size for size in sizes if size]
    return f"{sum(s['files'] for s in there)}, {sum(s['lines'] for s in there):,}" if there else "–"


def structure(found: dict) -> str:
    """Returns the table, and which commits it compares."""
    before, after = (found[state] for state in ("before", "after"))
    longest, widest = ([one[key]["name"] for one in (before, after)] for key in ("longest_function", "most_parameters"))
    return (
        f"{markdown(['', 'before', 'after'], rows(found))}\n\n"
        f"Before is commit {before['commit'][:7]}, after {after['commit'][:7]}. The longest functions are "
        f"`{longest[0]}` and `{longest[1]}`, those of most parameters `{widest[0]}` and `{widest[1]}`."
    )
