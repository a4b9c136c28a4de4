"""`facs_faces`: faces rendered from facial action units, the data set that ships with the package."""

from fer_jax.config.rules import whole
from fer_jax.data.data_set import DataSet
from fer_jax.data.facs_faces.builder import FacsFaces, FacsFacesConfig


def _complaint(config) -> str | None:
    n_folds, n_subjects = config.protocol.n_folds, config.data.n_subjects
    if n_folds > n_subjects:
        return f"protocol.n_folds is {n_folds}; it may be at most data.n_subjects, {n_subjects}"
    return None


_KEYS = {"data.n_subjects": whole(3), "data.images_per_cell": whole(1), "data.seed": whole(0, 2**31 - 1)}
DATA_SET = DataSet(_KEYS, None, _complaint)
__all__ = ["DATA_SET", "FacsFaces", "FacsFacesConfig"]
