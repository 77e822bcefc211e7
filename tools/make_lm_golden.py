"""Writes tests/golden/lm: a small corpus, and the models that KenLM's lmplz estimates from it.

lmplz comes from KenLM's source distribution (`pip download --no-binary kenlm --no-deps kenlm`, CMake, libboost):

    python tools/make_lm_golden.py path/to/lmplz
"""

from __future__ import annotations

import argparse
import lzma
import random
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden" / "lm"
NUM_SENTENCES = 700
# Name of the model, and what lmplz is asked for.
MODELS = {"order3": ("-o", "3"), "order3_pruned": ("-o", "3", "--prune", "0", "0", "1"), "order5": ("-o", "5")}

PLACES = ("kitchen", "bedroom", "hall", "garden", "garage", "attic", "office", "cellar", "living room", "bathroom")
THINGS = ("light", "lamp", "radio", "heating", "fan", "blind", "door", "window", "alarm", "oven", "pump", "fridge")
TIMES = ("now", "tonight", "tomorrow", "in the morning", "at noon", "later", "before dinner", "every evening")
NAMES = ("anna", "ben", "clara", "david", "emma", "fred", "grace", "henry", "ida", "jack")
CHOICES = {"switch": ("on", "off"), "thing": THINGS, "place": PLACES, "time": TIMES, "name": NAMES}
PATTERNS = (
    "turn {switch} the {thing} in the {place}",
    "please turn {switch} the {place} {thing}",
    "is the {thing} in the {place} still {switch}",
    "{name} said that the {thing} was {switch} {time}",
    "{name} and {name} went to the {place} {time}",
    "what did {name} do in the {place} {time}",
    "the {thing} of the {place} does not work",
    "remind {name} to look at the {thing} {time}",
    "{time} {name} will mend the {thing}",
    "{name} likes the {place}",
    "no",
    "yes please",
)


def sentences(seed: int, count: int) -> list[str]:
    """Sentences of which some are frequent and some come up once."""
    rng = random.Random(seed)

    def pick(choices: tuple[str, ...]) -> str:
        return choices[min(int(rng.expovariate(0.35)), len(choices) - 1)]

    lines = []
    for _ in range(count):
        words = []
        for part in pick(PATTERNS).replace("}", "{").split("{"):
            words.append(pick(CHOICES[part]) if part in CHOICES else part)
        # Words of which many come up once, some twice, and so on.
        if rng.random() < 0.5:
            words.append(f" said number {int(10 ** rng.uniform(0.0, 3.0))}")
        lines.append("".join(words))
    return lines


def main() -> None:
    """Runs lmplz and writes the files."""
    parser = argparse.ArgumentParser(description="Write the golden language models.")
    parser.add_argument("lmplz", type=Path)
    args = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in sentences(1, NUM_SENTENCES))
    (FOLDER / "corpus.txt").write_text(text, encoding="utf-8")
    (FOLDER / "held_out.txt").write_text("".join(f"{line}\n" for line in sentences(2, 60)), encoding="utf-8")
    for name, options in MODELS.items():
        command = [str(args.lmplz), *options, "--discount_fallback", "-S", "50M"]
        arpa = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
        (FOLDER / f"{name}.arpa.xz").write_bytes(lzma.compress(arpa, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
