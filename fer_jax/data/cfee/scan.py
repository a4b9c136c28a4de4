"""The files of the CFEE release (Du, Tao and Martinez, PNAS 2014), laid out as its authors send it.

    <manual_dir>/AU_annotation_all_subjects.xls            or .xlsx, or inside the folder below
    <manual_dir>/CFEE_Database_230/<group>/Images*/<EE>_<SSS>_….jpg

The first two characters of a file's name are its category id, characters 4 to 6 its subject. What the ids are called
is read from the sheet (`fer_jax.data.cfee.sheet`). Access is by request to the authors.
"""

import pathlib
import re

from fer_jax.data import listing
from fer_jax.data.cfee import sheet
from fer_jax.data.images import BadImage, printable
from fer_jax.errors import UserError

FOLDER = "CFEE_Database_230"
SHEETS = ("AU_annotation_all_subjects.xls", "AU_annotation_all_subjects.xlsx")
_NAME = re.compile(r"(?P<category>\d{2})_(?P<subject>\d{3})(?:_.*)?")


def scan(root: pathlib.Path, base_classes: tuple[str, ...], on_bad_image: str) -> listing.Listing:
    """Lists the files of the release under a root.

    Args:
      base_classes: names in the sheet, upper and lower case alike, that come first in the order of classes; the
        other categories follow in the order of their ids.

    Raises:
      UserError: a folder or the sheet missing, or a base class that the sheet does not have.
      BadImage: a picture that lies in no group's Images folder, a file name that is not of the release's form, or of a
        category that the sheet does not have, where that is an error.
    """
    folder = listing.existing_folder(root) / FOLDER
    if not folder.is_dir():
        raise UserError(f"{printable(folder)} does not exist; config.data.manual_dir is the folder that holds {FOLDER}")
    path = annotation(root)
    rows = sheet.read(path)
    name_of = {row.category: row.name for row in rows}
    names = listing.order_classes(name_of.values(), base_classes, printable(path))
    problems = listing.Problems(root, on_bad_image)
    pictures = []
    for picture in listing.files_below(folder, problems):
        if not listing.is_picture_name(picture):
            problems.ignore("files without a picture's extension", picture != path)
            continue
        parts = picture.relative_to(folder).parts
        if len(parts) < 3 or not parts[1].startswith("Images"):
            problem = f"it lies in no group's Images folder ({FOLDER}/<group>/Images…/)"
            problems.add(BadImage(picture, problem, "put it into one"))
            continue
        match = _NAME.fullmatch(picture.stem)
        if match is None:
            problems.add(BadImage(picture, "its name is not <category, 2 digits>_<subject, 3 digits>_…", "rename it"))
        elif int(match["category"]) not in name_of:
            problem = f"its category {match['category']} is not in {path.name}, which has {min(name_of)}–{max(name_of)}"
            problems.add(BadImage(picture, problem, "rename it"))
        else:
            pictures.append(listing.Found(picture, name_of[int(match["category"])], match["subject"]))
    units = {row.name: row.units for row in rows}
    return listing.make(problems, pictures, names, [path], units=tuple(units[name] for name in names))


def annotation(root: pathlib.Path) -> pathlib.Path:
    """Finds the annotation sheet: beside the folder of pictures or in it, .xls before .xlsx.

    Raises:
      UserError: there is none.
    """
    for candidate in (folder / name for folder in (root, root / FOLDER) for name in SHEETS):
        if candidate.exists():
            return candidate
    raise UserError(f"{printable(root / SHEETS[0])} does not exist; it is part of the release and names its categories")
