"""Flax models as pure functions: a backbone in two parts around a cut, and a head over all classes."""
