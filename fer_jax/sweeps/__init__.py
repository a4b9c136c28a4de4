"""A sweep: the runs of one config over several axes, each in a workdir of its own."""
