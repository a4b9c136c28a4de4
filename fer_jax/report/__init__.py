"""The report of a workdir: figures, tables and one HTML page, made from results.json alone."""
