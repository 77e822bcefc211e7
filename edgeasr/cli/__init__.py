"""The `edgeasr` command."""
