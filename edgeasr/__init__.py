"""Speech recognition for small computers."""
