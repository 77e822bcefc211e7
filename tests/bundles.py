"""The small bundles that the runtime's tests work with; `tools/make_test_bundle.py` writes them."""

from pathlib import Path

from edgeasr.confidence import Calibration

TINY = Path(__file__).parent / "golden" / "tiny"
WINDOWED = Path(__file__).parent / "golden" / "windowed"

# Made up: a calibration that gives random weights' words confidences all over the range.
CALIBRATION = Calibration(
    bias=4.0,
    weights={"posterior": 0.8, "share": 1.5, "weakest": 0.7, "doubt": 1.0, "letters": 0.3, "duration": -0.5},
    score_scale=0.5,
    knots=((0.3, 0.2), (0.8, 0.75)),
)
