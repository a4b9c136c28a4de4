"""The three phases of the method: base task, increments, few shots."""
