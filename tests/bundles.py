"""The small bundles that the runtime's tests work with; `tools/make_test_bundle.py` writes them."""

from pathlib import Path

TINY = Path(__file__).parent / "golden" / "tiny"
WINDOWED = Path(__file__).parent / "golden" / "windowed"
