"""A streaming transducer in ONNX files, as a teacher: what its encoder, decoder and joiner say of a whole clip."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgeasr.config import LogMelConfig
from edgeasr.errors import ConfigError
from edgeasr.features import log_mel
from edgeasr.train.clips import resample
from edgeasr.train.teachers.teacher import FloatArray, Frames, IntArray, Said, log_softmax
from edgeasr.waveform import Waveform

BLANK_ID = 0
WORD_START = "▁"
# The last words come only after some silence (sherpa-onnx's examples add about this much).
TAIL_S = 0.64
# An encoder frame of 40 ms is centred 45 ms after its place: windows of 45 feature frames make eight, 32 apart, and the
# convolutions in front of the encoder eat the edges.
SUBSAMPLING = 4
FIRST_S = 0.045
# Frames joined at a time along the best path: until the next token they all have the same history.
JOIN_BLOCK = 8
# Of 699 words in librispeech.dev the teacher of the data folder emits 698 in the tokens that this offset cuts them into
# (2 fewer with 20, 49 fewer with 3, 13 fewer with as few tokens as possible).
RANK_OFFSET = 10
PASSED_OVER = 1000.0


class OnnxTransducer:
    """A streaming transducer in the files and with the tensors that sherpa-onnx uses, run on whole clips.

    The encoder takes windows of features with its states (`x`, `cached_*`, ... to `encoder_out`, `new_*`); the
    decoder is stateless, with a few tokens of context (`y` to `decoder_out`; Ghodsi et al. 2020); the joiner takes both
    (to `logit`). In a frame at most one token is emitted. Its features here are `encoder_out`.

    Example:
        >>> teacher = OnnxTransducer(Path("teacher"))  # doctest: +SKIP
        >>> teacher.hear(waveform, 16000, None).readings[0]  # doctest: +SKIP
        'HE WAS A TALL MAN'
    """

    frontend = LogMelConfig()
    blank_id = BLANK_ID

    def __init__(self, folder: Path, *, follow_text: bool = False, n_best: int = 1, num_threads: int = 1) -> None:
        """Loads the models.

        Args:
            folder: Holds `encoder.onnx` or `encoder.int8.onnx`, `decoder.onnx`, `joiner.onnx` and `tokens.txt`.
            follow_text: Posteriors are those along the transcript, where there is one.
            n_best: How many readings to look for.
            num_threads: Threads of one step.

        Raises:
            ConfigError: A file is missing.
        """
        encoder = folder / "encoder.onnx"
        if not encoder.is_file():
            encoder = folder / "encoder.int8.onnx"
        for path in (encoder, folder / "decoder.onnx", folder / "joiner.onnx", folder / "tokens.txt"):
            if not path.is_file():
                raise ConfigError(f"{path} not found: a transducer is made of encoder, decoder, joiner and tokens")
        self._encoder = _load(encoder, num_threads)
        self._decoder = _load(folder / "decoder.onnx", num_threads)
        self._joiner = _load(folder / "joiner.onnx", num_threads)
        lines = (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()
        self.tokens = tuple(line.rsplit(" ", 1)[0] for line in lines)
        self._upper = not any(token != token.upper() for token in self.tokens if not token.startswith("<"))
        metadata = self._encoder.get_modelmeta().custom_metadata_map
        self._window_frames = int(metadata["T"])
        self._step_frames = int(metadata["decode_chunk_len"])
        self._context = int(self._decoder.get_modelmeta().custom_metadata_map["context_size"])
        self._states = [entry for entry in self._encoder.get_inputs() if entry.name != "x"]
        self._outputs = [entry.name for entry in self._encoder.get_outputs()]
        self._follow_text = follow_text
        self._n_best = n_best
        frame_s = SUBSAMPLING * self.frontend.hop_length / self.frontend.sample_rate
        self.token_frames = self.feature_frames = Frames(first_s=FIRST_S, step_s=frame_s)
        self.feature_dim = int(self._encoder.get_outputs()[0].shape[-1])

    def hear(self, waveform: Waveform, sample_rate: int, text: str | None) -> Said:
        encoded = self.encode(waveform, sample_rate)
        token_ids = self.best_path(encoded)
        log_probs = self.posteriors(encoded, token_ids)
        score = float(np.take_along_axis(log_probs, token_ids[:, None], 1).sum())
        found = [(token_ids, score)] if self._n_best == 1 else self.search(encoded, self._n_best)
        followed = self.reference_path(encoded, self.cut(text)) if self._follow_text and text else None
        if followed is not None:
            token_ids, log_probs = followed, self.posteriors(encoded, followed)
        return Said(
            features=encoded,
            log_probs=log_probs,
            token_ids=token_ids,
            readings=tuple(self.text(ids) for ids, _ in found),
            scores=tuple(score for _, score in found),
        )

    def encode(self, waveform: Waveform, sample_rate: int) -> FloatArray:
        """What the encoder makes of a clip and the silence after it, (num_frames, dim) float32."""
        sound = resample(waveform, sample_rate, self.frontend.sample_rate)
        sound = np.concatenate([sound, np.zeros(round(TAIL_S * self.frontend.sample_rate), np.float32)])
        features = log_mel(sound, self.frontend)
        states: dict[str, npt.NDArray[Any]] = {
            entry.name: np.zeros(
                [size if isinstance(size, int) else 1 for size in entry.shape],
                np.int64 if "int64" in entry.type else np.float32,
            )
            for entry in self._states
        }
        encoded = []
        for begin in range(0, len(features) - self._window_frames + 1, self._step_frames):
            window = features[None, begin : begin + self._window_frames]
            out, *new = self._encoder.run(self._outputs, {"x": window, **states})
            states = dict(zip(states, new, strict=True))
            encoded.append(out[0])
        return np.concatenate(encoded)

    def best_path(self, encoded: FloatArray) -> IntArray:
        """The greedy path, (num_frames,): in each frame the most probable token, after those emitted before."""
        token_ids = np.full(len(encoded), BLANK_ID, np.int64)
        history: list[int] = []
        decoded = self._decode([history])
        begin = 0
        while begin < len(encoded):
            end = min(begin + JOIN_BLOCK, len(encoded))
            best = self._join(encoded[begin:end], np.repeat(decoded, end - begin, 0)).argmax(1)
            spikes = np.flatnonzero(best != BLANK_ID)
            if not len(spikes):
                begin = end
                continue
            begin += int(spikes[0])
            token_ids[begin] = best[spikes[0]]
            history.append(int(best[spikes[0]]))
            decoded = self._decode([history])
            begin += 1
        return token_ids

    def reference_path(self, encoded: FloatArray, reference: list[int]) -> IntArray | None:
        """The most probable path, (num_frames,), that emits these tokens; None if there are more than frames.

        Viterbi over the lattice of frames and tokens emitted so far (Graves 2012, section 2.4, but for the best path
        instead of the sum, and with at most one token a frame).
        """
        num_frames, num_tokens = len(encoded), len(reference)
        if num_tokens > num_frames:
            return None
        decoded = self._decode([reference[:count] for count in range(num_tokens + 1)])
        blank = np.empty((num_frames, num_tokens + 1))
        emit = np.empty((num_frames, num_tokens))
        for count in range(num_tokens + 1):
            rows = log_softmax(self._join(encoded, np.repeat(decoded[count : count + 1], num_frames, 0)))
            blank[:, count] = rows[:, BLANK_ID]
            if count < num_tokens:
                emit[:, count] = rows[:, reference[count]]
        score = np.full(num_tokens + 1, -np.inf)
        score[0] = 0.0
        emitted = np.zeros((num_frames, num_tokens + 1), bool)
        for frame in range(num_frames):
            stay = score + blank[frame]
            move = np.concatenate([[-np.inf], score[:-1] + emit[frame]])
            emitted[frame] = move > stay
            score = np.maximum(stay, move)
        token_ids = np.full(num_frames, BLANK_ID, np.int64)
        count = num_tokens
        for frame in range(num_frames - 1, -1, -1):
            if emitted[frame, count]:
                count -= 1
                token_ids[frame] = reference[count]
        return token_ids

    def posteriors(self, encoded: FloatArray, token_ids: IntArray) -> FloatArray:
        """The log of the posteriors along a path, (num_frames, vocab_size): each frame's before it emits its token."""
        emitted = token_ids[token_ids != BLANK_ID].tolist()
        decoded = self._decode([emitted[:count] for count in range(len(emitted) + 1)])
        before = np.cumsum(token_ids != BLANK_ID) - (token_ids != BLANK_ID)
        return log_softmax(self._join(encoded, decoded[before]))

    def search(self, encoded: FloatArray, beam_size: int) -> list[tuple[IntArray, float]]:
        """The best readings as token ids with the log of their probabilities, by a beam search over frames.

        Paths with the same tokens are added up; a frame emits at most one token (modified beam search of icefall).
        """
        beam: dict[tuple[int, ...], float] = {(): 0.0}
        decoded: dict[tuple[int, ...], FloatArray] = {(): self._decode([[]])[0]}
        for frame in encoded:
            prefixes = list(beam)
            rows = log_softmax(
                self._join(np.repeat(frame[None], len(beam), 0), np.stack([decoded[p] for p in prefixes]))
            )
            total = rows + np.array([beam[p] for p in prefixes])[:, None]
            merged: dict[tuple[int, ...], float] = {}
            for place in np.argsort(-total, axis=None, kind="stable")[: 2 * beam_size].tolist():
                row, token = divmod(place, total.shape[1])
                prefix = prefixes[row] if token == BLANK_ID else (*prefixes[row], token)
                merged[prefix] = float(np.logaddexp(merged.get(prefix, -np.inf), total[row, token]))
            beam = dict(sorted(merged.items(), key=lambda item: -item[1])[:beam_size])
            new = [prefix for prefix in beam if prefix not in decoded]
            if new:
                decoded.update(zip(new, self._decode([list(prefix) for prefix in new]), strict=True))
            decoded = {prefix: decoded[prefix] for prefix in beam}
        return [(np.array(prefix, np.int64), score) for prefix, score in beam.items()]

    def text(self, token_ids: IntArray) -> str:
        """The words of a path."""
        pieces = "".join(self.tokens[token] for token in token_ids if token != BLANK_ID)
        return " ".join(pieces.replace(WORD_START, " ").split())

    def cut(self, text: str) -> list[int]:
        """Cuts a text into tokens.

        The table comes without the tokens' probabilities, but from the most frequent to the rarest, and the law of Zipf
        and Mandelbrot tells a probability from a rank. The cut is the most probable one (unigram model, Kudo 2018).
        Characters that the table lacks are left out.
        """
        cased = text.upper() if self._upper else text
        place = {token: i for i, token in enumerate(self.tokens) if not token.startswith("<")}
        longest = max(map(len, place))
        ids: list[int] = []
        for word in cased.split():
            written = WORD_START + word
            best: list[tuple[float, list[int]]] = [(0.0, [])]
            for end in range(1, len(written) + 1):
                # A character may be passed over, if nothing else will do.
                choices = [(best[end - 1][0] + PASSED_OVER, best[end - 1][1])]
                for begin in range(max(0, end - longest), end):
                    token = place.get(written[begin:end])
                    if token is not None:
                        choices.append((best[begin][0] + math.log(token + RANK_OFFSET), [*best[begin][1], token]))
                best.append(min(choices, key=lambda choice: choice[0]))
            ids += best[-1][1]
        return ids

    def _decode(self, histories: list[list[int]]) -> FloatArray:
        start = [-1] * (self._context - 1) + [BLANK_ID]
        contexts = [[*start, *history][-self._context :] for history in histories]
        result: FloatArray = self._decoder.run(None, {"y": np.array(contexts, np.int64)})[0]
        return result

    def _join(self, encoded: FloatArray, decoded: FloatArray) -> FloatArray:
        result: FloatArray = self._joiner.run(None, {"encoder_out": encoded, "decoder_out": decoded})[0]
        return result


def _load(path: Path, num_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
