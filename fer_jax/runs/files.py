"""Writing files so that a kill or a full disk leaves what was there, into folders that were checked before."""

import contextlib
import os
import pathlib
import tempfile

from fer_jax.errors import UserError


def check_folder(flag: str, folder: pathlib.Path) -> None:
    """Checks that a folder is there and can be written to, or can be made, before the work whose outcome goes there.

    Raises:
      UserError: it cannot.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:  # of a name that is too long, or a folder that cannot be looked into
        raise UserError(f"{flag} {folder}: {error.strerror}; it may be a folder, new or not") from None
    if not there.is_dir():
        under = "" if there == folder else f" lies under {there}, which"
        raise UserError(f"{flag} {folder}{under} is a file; it may be a folder, new or not")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {folder}: {there} cannot be written to; it may be a folder of your own")


def write(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file completely or not at all, flushed to disk before it returns; text as UTF-8.

    Raises:
      OSError: it cannot be written; the error has the file's name.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(handle)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            pathlib.Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):  # that of a full disk names no file, others the temporary one
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some file systems have no such thing for folders
        os.fsync(folder)
    os.close(folder)
