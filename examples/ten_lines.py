"""Ten lines that put the recogniser into a program: sound goes in piece by piece, words come out as they are said."""

import sys

import soundfile

from edgeasr import Recognizer

stream = Recognizer().stream(sample_rate=soundfile.info(sys.argv[1]).samplerate)
for block in soundfile.blocks(sys.argv[1], blocksize=1600, dtype="float32"):  # as a microphone would give them
    print("\r" + stream.accept(block).text, end="", flush=True)
print()
for word in stream.finish().words:
    print(f"{word.start:6.2f} s  {word.confidence:4.0%}  {word.text}")
