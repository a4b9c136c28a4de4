"""The field's related systems, each as a short study on this code base: docs/related.md has what they found.

`common` is what they share. Each file says its paper, what of it was read, what is this project's own choice, what is
measured, and the control that would expose a sham.
"""
