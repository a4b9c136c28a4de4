"""Hooks of the site: the notebook docs/tour.ipynb as a page, with its outputs, in the place of the file itself."""

import json

from mkdocs.structure.files import File

NOTEBOOK, PAGE = "tour.ipynb", "tour.md"


def on_files(files, config):
    """Puts the page where the notebook was."""
    notebook = files.get_file_from_path(NOTEBOOK)
    files.append(File.generated(config, PAGE, content=as_markdown(json.loads(notebook.content_string))))
    files.remove(notebook)
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to the notebook lead to its page; in the repository they lead to the notebook, which is shown there."""
    return markdown.replace(f"]({NOTEBOOK})", f"]({PAGE})")


def as_markdown(notebook: dict) -> str:
    """Cells and their outputs in order, pictures inside the text."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else _fenced(source, "python"))
        parts += [_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts) + "\n"


def _output(output: dict) -> str:
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text")
    data = output["data"]
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img src="data:image/png;base64,{picture}" alt="what the cell above drew">'
    return _fenced("".join(data["text/plain"]), "text")


def _fenced(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"
