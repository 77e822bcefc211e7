"""Decodes with other people's CTC decoders, for `bench_decoder.py`; runs in any Python that has them.

It is a program by itself, without edgeasr, because some of them need a NumPy older than everybody else's:

    python3.11 -m venv peers
    peers/bin/pip install 'numpy<2' fast-ctc-decode flashlight-text pyctcdecode kenlm sentencepiece

It is told what to do on standard input, a JSON object a line, and answers on standard output in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Decode = Callable[[Any], str]

MODULES = {
    "flashlight": ("flashlight", "sentencepiece"),
    "fast-ctc-decode": ("fast_ctc_decode",),
    "pyctcdecode": ("pyctcdecode", "kenlm"),
}
SENTENCEPIECE_SPACE = "▁"


def spelled(tokens: list[str]) -> str:
    return " ".join("".join(tokens).replace(SENTENCEPIECE_SPACE, " ").split())


def flashlight(job: dict[str, Any], tokens: list[str]) -> Decode:
    """The settings of its authors for CTC; scores of its language model are log10, and lm_weight is meant for them."""
    from flashlight.lib.text.decoder import (
        CriterionType,
        LexiconDecoder,
        LexiconDecoderOptions,
        LexiconFreeDecoder,
        LexiconFreeDecoderOptions,
        SmearingMode,
        Trie,
        ZeroLM,
    )

    blank = 0
    # Without a token for the space another one has to be named that no word has; the blank would not do.
    has_space = " " in tokens
    silence = tokens.index(" " if has_space else "<unk>")
    common = {
        "beam_size": job["beam_size"],
        "beam_size_token": 20,
        "beam_threshold": 10.0,
        "sil_score": 0.0,
        "log_add": True,
        "criterion_type": CriterionType.CTC,
    }
    if not job["lexicon"]:
        free = LexiconFreeDecoder(LexiconFreeDecoderOptions(lm_weight=0.0, **common), ZeroLM(), silence, blank, [])

        def decode_free(rows: Any) -> str:
            best = free.decode(rows.ctypes.data, *rows.shape)[0]
            ids = best.tokens
            kept = [i for i, before in zip(ids[1:], ids, strict=False) if i != before and i not in (blank, -1)]
            return spelled([tokens[i] for i in kept])

        return decode_free

    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    words = Path(job["lexicon"]).read_text().split()
    dictionary = Dictionary([*words, "<unk>"])
    lm = KenLM(job["lm"], dictionary)
    if has_space:
        places = {token: i for i, token in enumerate(tokens)}
        spellings = {word: [*(places[letter] for letter in word), silence] for word in words}
    else:
        import sentencepiece

        places = {token: i for i, token in enumerate(tokens)}
        pieces = sentencepiece.SentencePieceProcessor(model_file=job["sentencepiece"])
        spellings = {word: [places.get(piece, -1) for piece in pieces.encode(word, out_type=str)] for word in words}
    trie = Trie(len(tokens), silence)
    start = lm.start(False)
    for word, spelling in spellings.items():
        if -1 not in spelling:
            index = dictionary.get_index(word)
            trie.insert(spelling, index, lm.score(start, index)[1])
    trie.smear(SmearingMode.MAX)
    decoder = LexiconDecoder(
        LexiconDecoderOptions(lm_weight=1.15, word_score=1.5, unk_score=float("-inf"), **common),
        trie,
        lm,
        silence,
        blank,
        dictionary.get_index("<unk>"),
        [],
        False,
    )

    def decode(rows: Any) -> str:
        best = decoder.decode(rows.ctypes.data, *rows.shape)[0]
        return " ".join(dictionary.get_entry(word) for word in best.words if word >= 0)

    return decode


def fast_ctc_decode(job: dict[str, Any], tokens: list[str]) -> Decode | None:
    if job["lexicon"]:
        return None
    from fast_ctc_decode import beam_search

    def decode(rows: Any) -> str:
        text, _ = beam_search(np.exp(rows), tokens, beam_size=job["beam_size"], beam_cut_threshold=0.001)
        return spelled([text])

    return decode


def pyctcdecode(job: dict[str, Any], tokens: list[str]) -> Decode:
    from pyctcdecode import build_ctcdecoder

    labels = ["", *tokens[1:]]
    with contextlib.redirect_stderr(None):
        if job["lexicon"]:
            words = Path(job["lexicon"]).read_text().split()
            decoder = build_ctcdecoder(labels, job["lm"], words)
        else:
            decoder = build_ctcdecoder(labels)
    return lambda rows: " ".join(str(decoder.decode(rows, beam_width=job["beam_size"])).split())


PEERS = {"flashlight": flashlight, "fast-ctc-decode": fast_ctc_decode, "pyctcdecode": pyctcdecode}


def main() -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the peers print is no answer
    there = [name for name, modules in MODULES.items() if all(find_spec(module) for module in modules)]
    print(json.dumps({"peers": there}), file=answers, flush=True)
    decoders: dict[str, Decode | None] = {}
    for line in sys.stdin:
        job = json.loads(line)
        data = np.load(job["data"])
        tokens = [str(token) for token in data["tokens"]]
        if job["name"] not in decoders:
            decoders = {job["name"]: PEERS[job["peer"]](job, tokens)}
        decode = decoders[job["name"]]
        if decode is None:
            print(json.dumps({}), file=answers, flush=True)
            continue
        utterances = [np.ascontiguousarray(rows) for rows in np.split(data["rows"], np.cumsum(data["lengths"])[:-1])]
        begun = time.process_time()
        texts = [decode(rows) for rows in utterances]
        cpu_s = time.process_time() - begun
        print(json.dumps({"cpu_s": cpu_s, "texts": texts}), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
