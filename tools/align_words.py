"""Finds out when each word of a manifest's transcripts is said, and writes the manifest once more with the times.

    python tools/align_words.py speech/librispeech.train.jsonl -o timed/librispeech.train.jsonl

A student listens, and its CTC path along the transcript says where the words are (`edgeasr.train.align`). Lines get
`words`, a list of `[word, start_s, end_s]`, unless the student does not believe that the text was said; such clips stay
in the manifest without. Paths of clips are rewritten for the folder of the output.

A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from os.path import relpath
from pathlib import Path

from edgeasr.cli.common import add_recognizer_arguments, fail, load_recognizer
from edgeasr.cli.progress import ProgressBar
from edgeasr.errors import EdgeAsrError
from edgeasr.train.align import align_words
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.manifest import read_manifest

# On 34 clips of librispeech.dev and commonvoice.dev, en-small's scores of the transcripts were -0.54 to -0.06, of which
# two were below this; words that nobody had said had -0.72.
LEAST_SCORE = -0.4


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MANIFEST", help="is written")
    parser.add_argument(
        "--least-score",
        type=float,
        default=LEAST_SCORE,
        metavar="S",
        help="log-prob of the transcript per row, below which it is not believed (default: %(default)s)",
    )
    add_recognizer_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return align(args)
    except KeyboardInterrupt:
        return fail("stopped; the same command goes on from here")
    except (EdgeAsrError, OSError) as error:
        return fail(error)


def align(args: argparse.Namespace) -> int:
    utterances = read_manifest(args.manifest)
    lines = [json.loads(line) for line in args.manifest.read_text(encoding="utf-8").splitlines()]
    recognizer = load_recognizer(args)
    output: Path = args.output
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.partial")
    # A last line without its end was cut short.
    done = partial.read_text(encoding="utf-8").split("\n")[:-1] if partial.exists() else []
    progress = ProgressBar("listening")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in done)
        for number in range(len(done), len(lines)):
            progress.update(number + 1, len(lines))
            utterance, row = utterances[number], lines[number]
            row["audio"] = relpath(utterance.audio, output.parent)
            row.pop("words", None)
            if utterance.text:
                waveform = resample(*read_audio(utterance.audio), recognizer.bundle.sample_rate)
                found = align_words(recognizer, waveform, utterance.text)
                if found is not None and found[1] >= args.least_score:
                    row["words"] = found[0]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
    progress.clear()
    partial.replace(output)
    timed = [utterance for utterance in read_manifest(output) if utterance.words]
    words = sum(len(utterance.words or ()) for utterance in timed)
    print(f"{output}: {len(timed)} of {len(lines)} clips with times, {words} words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
