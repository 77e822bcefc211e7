"""The training side: the only package of edgeasr that imports torch."""
