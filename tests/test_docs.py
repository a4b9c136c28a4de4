"""What the documents claim is what committed files hold."""

import ast
import importlib.metadata
import json
import pathlib
import re
import sys
import tomllib

import pytest
from PIL import Image

from studies import documents as readme

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def test_the_documents_figures_are_those_of_the_committed_results():
    names = ("README.md", "docs/results.md", "docs/explanations.md", "docs/performance.md", "docs/faces.md",
             "docs/units.md", "docs/architecture.md", "docs/method.md", "docs/related.md",
             "docs/deviations.md", "docs/faults.md")  # fmt: skip
    texts = [(ROOT / name).read_text() for name in names]
    for text in texts:
        assert readme.fill(text, RESULTS) == text
    assert all(sum(f"<!-- {name} -->" in text for text in texts) == 1 for name in readme.BLOCKS)


def test_a_table_that_nothing_was_measured_for_says_so(tmp_path):
    filled = readme.fill("before\n<!-- profile -->\nold\n<!-- /profile -->\n", tmp_path)
    assert filled == "before\n<!-- profile -->\nNot measured yet.\n<!-- /profile -->\n"


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/architecture.md",
        "docs/data.md",
        "docs/explanations.md",
        "docs/extending.md",
        "docs/experiments.md",
        "docs/faces.md",
        "docs/models.md",
        "docs/pictures.md",
        "docs/style.md",
        "docs/tutorial.md",
        "docs/index.md",
        "docs/installation.md",
        "docs/python.md",
        "docs/trackers.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/faults.md",
        "docs/method.md",
        "docs/performance.md",
        "docs/related.md",
        "docs/results.md",
        "docs/results_schema.md",
        "docs/serve.md",
        "docs/units.md",
        "docs/weights.md",
        "launch/README.md",
        "studies/README.md",
    ],
)
def test_links_and_named_files_exist(document):
    path = ROOT / document
    # The table of the restructuring names folders of two past commits.
    text = re.sub("<!-- structure -->.*<!-- /structure -->", "", path.read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    named = re.findall(r"`((?:configs|docs|fer_jax|launch|studies|tests)/[\w./]+)`", text)
    for link in links:
        assert (path.parent / link).exists(), link
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_papers_experiment_is_started_from_weights():
    text = (ROOT / "docs" / "pictures.md").read_text() + (ROOT / "configs" / "cfee.py").read_text().replace(
        "\\\\", "\\"
    )
    commands = re.findall(r"fer-jax train --config configs/cfee\.py(?:[^\n]*\\\n)*[^\n]*", text)
    assert len(commands) == 3
    assert all("--config.model.weights=" in command for command in commands)


def test_every_dependency_has_its_line():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["pretrained"]]
    names = {re.split(r"[\[<>=!~ ]", requirement)[0] for requirement in wanted}
    table = (ROOT / "docs" / "architecture.md").read_text().split("## Dependencies")[1]
    documented = {
        name.strip() for row in re.findall(r"^\| ([\w, -]+) \|", table, re.MULTILINE) for name in row.split(",")
    }
    assert names <= documented
    assert not names & {"tensorflow", "torch"}


def test_every_extra_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "installation.md").read_text(), re.MULTILINE)
    explained = {name.strip(" `") for row in rows for name in row.split(",")}
    assert explained == extras.keys() - {"mutation", "peer"}  # of studies, which say so themselves


def normal(requirement: str) -> str:
    """The name of the package that a requirement asks for, as PyPI compares names."""
    return re.split(r"[\[(<>=!~; ]", requirement)[0].lower().replace("_", "-")


def test_a_run_imports_base_dependencies_alone():
    """What only an extra installs is imported where it is needed, so that `import fer_jax…` works without it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {normal(requirement) for requirement in project["dependencies"]}
    brought = [importlib.metadata.requires(package) or [] for package in base]
    base |= {normal(requirement) for some in brought for requirement in some if "extra ==" not in requirement}
    installed = importlib.metadata.packages_distributions()
    extra = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "fer_jax").rglob("*.py")
        if path.name != "exported_model.py"  # is copied into an export, and runs there
        for node in ast.parse(path.read_text()).body
        for name in imported(node) - sys.stdlib_module_names - {"fer_jax"}
        if not base & {normal(package) for package in installed[name]}
    }
    assert extra == set()


def imported(node: ast.stmt) -> set[str]:
    """The top-level names of the packages that a statement imports."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module] if isinstance(node, ast.ImportFrom) else []
    return {name.partition(".")[0] for name in names}


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["pretrained"]]
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names <= pinned


def test_the_contact_sheet_is_small_and_legible():
    path = ROOT / "docs" / "faces.png"
    assert path.stat().st_size <= 300_000
    with Image.open(path) as image:
        assert min(image.size) > 800


def test_the_comparison_of_detectors_is_that_of_the_committed_results():
    found = json.loads((RESULTS / "detectors.json").read_text())
    text = (ROOT / "docs" / "faces.md").read_text()
    rows = text.split("<!-- detectors -->")[1].split("<!-- /detectors -->")[0]
    assert all(d["what"].rstrip(".") in rows for d in found["detectors"].values())
    # "It found all nine portraits that are not in profile, also when they were darker or smaller."
    by_picture = found["detectors"]["hog"]["portraits by picture"]
    in_profile = {"feat/tests/data/BWPictureHuman.jpg", "skimage/data/camera.png"}
    assert all(pathlib.PurePath(name).name in text for name in in_profile)
    assert len(by_picture.keys() - in_profile) == 9
    for name in by_picture.keys() - in_profile:
        missed = [how for how, row in by_picture[name].items() if row["hits"] < row["n"]]
        assert all(how.startswith("turned") for how in missed), name
