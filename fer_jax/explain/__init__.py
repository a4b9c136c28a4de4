"""Explanations of a trained model: Grad-CAM, checks of its maps, the figures of the paper."""
