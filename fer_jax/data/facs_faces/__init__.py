"""`facs_faces`: faces rendered from facial action units, the data set that ships with the package."""

from fer_jax.data.facs_faces.builder import FacsFaces, FacsFacesConfig

__all__ = ["FacsFaces", "FacsFacesConfig"]
