"""Where a trained model looks: Grad-CAM, its checks, the figures of the paper."""
