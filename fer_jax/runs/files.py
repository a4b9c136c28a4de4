"""Writing files so that a kill or a full disk leaves what was there."""

import contextlib
import os
import pathlib
import tempfile


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
