"""Measures gate and endpoints on simulated live sound: faster than real time, on the clock of the sound.

    python tools/measure_endpoints.py latency  # from the first word's onset to its text, from the last's end to Final
    python tools/measure_endpoints.py pauses   # how often an utterance is cut at a pause inside it
    python tools/measure_endpoints.py words    # word error rates with and without endpoints, clips and joined clips
    python tools/measure_endpoints.py gate     # word errors behind a closed gate, and how much noise passes
    python tools/measure_endpoints.py noise    # false words in an hour of noise
    python tools/measure_endpoints.py cpu      # share of a core, in silence and in speech
    python tools/measure_endpoints.py hour     # an hour of utterances: events, and growth of memory
    python tools/measure_endpoints.py cycles   # 10,000 times accept, endpoint and reset: growth of memory

The clips of `latency` and `pauses` are cut to their speech, as its level shows it
(`edgeasr/train/evaluation/joined.py`). Between them stands noise with the level and the spectrum of their quietest
tenth of a second. A block of 20 ms can be heard
when its last sample is there and the block before it is done; what is made of it is known when its computation ends.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from edgeasr import Recognizer
from edgeasr.audio import AUDIO_SUFFIXES
from edgeasr.cli.common import add_confidence_arguments, add_recognizer_arguments, fail, load_recognizer, positive
from edgeasr.cli.progress import ProgressBar
from edgeasr.endpoint import EndpointConfig, EnergyGate, GateConfig
from edgeasr.errors import ConfigError, EdgeAsrError
from edgeasr.events import Event, Final, Partial, Rejected, SpeechStarted
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.evaluation.evaluate import find_sets, normaliser
from edgeasr.train.evaluation.joined import SAMPLE_RATE, find_speech
from edgeasr.train.evaluation.score import ErrorCounts, count_errors
from edgeasr.train.manifest import Utterance, data_dir
from edgeasr.waveform import Waveform

DEFAULT_SETS = ["librispeech.dev", "commonvoice.dev"]
BLOCK_S = 0.02
# Between utterances: some pauses let the gate close, some do not.
GAP_S = (1.2, 3.5)
PAUSES_S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# Speech fades into the noise within this.
MARGIN_S = 0.1
# An endpoint that a pause has caused is known by then: its last chunk has ended.
KNOWN_WITHIN_S = 0.6
HOUR_S, FIVE_MINUTES_S = 3600.0, 300.0
NUM_CYCLES = 10_000


@dataclass(frozen=True)
class Clip:
    """Speech at 16 kHz with a margin on either side that fades, and a bit of what is behind it."""

    waveform: Waveform
    quietest: Waveform
    text: str = ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=tuple(MEASUREMENTS))
    parser.add_argument("sets", nargs="*", metavar="SET", help="sets such as librispeech.dev, or manifests")
    parser.add_argument("--data", type=Path, help="folder of the data ($EDGEASR_DATA, or ../shared/data)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N clips of each set, evenly spread")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--min-silence", type=float, metavar="S", help="another `min_silence_s`")
    parser.add_argument("--min-silence-in-noise", type=float, metavar="S", help="another `min_silence_in_noise_s`")
    parser.add_argument("--no-gate", action="store_true", help="let all sound pass")
    add_recognizer_arguments(parser)
    add_confidence_arguments(parser)
    args = parser.parse_args(argv)
    try:
        report = MEASUREMENTS[args.measurement](args, load_recognizer(args), endpoint_config(args))
    except (EdgeAsrError, OSError) as error:
        return fail(error)
    print(json.dumps(report) if args.json else "\n".join(f"{key:32} {value}" for key, value in report.items()))
    return 0


def endpoint_config(args: argparse.Namespace) -> EndpointConfig:
    config = EndpointConfig()
    silence = config.min_silence_s if args.min_silence is None else args.min_silence
    in_noise = config.min_silence_in_noise_s if args.min_silence_in_noise is None else args.min_silence_in_noise
    return replace(
        config,
        min_silence_s=silence,
        min_silence_in_noise_s=max(silence, in_noise),
        gate=None if args.no_gate else config.gate,
    )


def latency(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    sound, bounds = joined(clear_clips(args, recognizer))
    return latencies(listen(recognizer, config, sound), bounds)


def joined(clips: Sequence[Clip]) -> tuple[Waveform, list[tuple[float, float]]]:
    """Puts clips one after the other, with their background between them; also returns where their speech is."""
    random = np.random.default_rng(0)
    parts: list[Waveform] = []
    bounds: list[tuple[float, float]] = []
    position = 0.0
    for clip in clips:
        gap = background(random, clip, random.uniform(*GAP_S))
        position += len(gap) / SAMPLE_RATE
        end = position + len(clip.waveform) / SAMPLE_RATE
        bounds.append((position + MARGIN_S, end - MARGIN_S))
        position = end
        parts += [gap, clip.waveform]
    parts.append(background(random, clips[-1], GAP_S[1]))
    return np.concatenate(parts), bounds


def latencies(heard: Sequence[tuple[Event, float]], bounds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """How long after its first word's onset an utterance was first shown, and how long after its end it was final.

    Args:
        heard: Events, and when each was known.
        bounds: When the speech of each utterance began and ended, on the same clock.
    """
    firsts, finals, missed = [], [], 0
    for (start_s, end_s), (next_start_s, _) in zip(bounds, [*bounds[1:], (np.inf, np.inf)], strict=True):
        # Of an utterance that was cut inside, the first words and the last Final count.
        mine = [(event, at) for event, at in heard if start_s < at < min(next_start_s, end_s + GAP_S[0])]
        partials = [at for event, at in mine if isinstance(event, Partial) and event.words]
        ends = [at for event, at in mine if isinstance(event, (Final, Rejected)) and at > end_s]
        if partials and ends:
            firsts.append(partials[0] - start_s)
            finals.append(ends[-1] - end_s)
        else:
            missed += 1
    if not firsts:
        raise ConfigError("no utterance was recognised")
    return {
        "utterances": len(bounds),
        "not_heard_or_not_ended": missed,
        "first_partial_s": quantiles(firsts),
        "final_s": quantiles(finals),
    }


def pauses(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    random = np.random.default_rng(0)
    clips = clear_clips(args, recognizer)
    parts: list[Waveform] = []
    places: list[tuple[float, float, float]] = []
    position = 0.0
    for first, second in zip(clips[::2], clips[1::2], strict=False):
        # Each pair with all the pauses, so that they meet the same words.
        for pause_s in PAUSES_S:
            gap = background(random, first, GAP_S[1] + random.uniform(0, 0.4))
            inside = background(random, first, pause_s - 2 * MARGIN_S)
            position += (len(gap) + len(first.waveform)) / SAMPLE_RATE - MARGIN_S
            places.append((pause_s, position, position + pause_s))
            position += pause_s + len(second.waveform) / SAMPLE_RATE - MARGIN_S
            parts += [gap, first.waveform, inside, second.waveform]
    parts.append(background(random, clips[0], GAP_S[1]))
    heard = listen(recognizer, config, np.concatenate(parts))
    ends = np.array([event.time_s for event, _ in heard if isinstance(event, (Final, Rejected))])
    report: dict[str, Any] = {"pauses_of_each_length": len(places) // len(PAUSES_S)}
    for pause_s in PAUSES_S:
        cut = [bool(((ends > a) & (ends < b + KNOWN_WITHIN_S)).any()) for length, a, b in places if length == pause_s]
        report[f"cut_at_{pause_s}_s_percent"] = round(100 * float(np.mean(cut)), 1)
    return report


def words(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    normalise = normaliser(recognizer.bundle.language)
    sets = find_sets(args.data or data_dir(), args.sets or DEFAULT_SETS, normalise, limit=args.limit)
    report: dict[str, Any] = {}
    for evaluation_set in sets:
        progress = ProgressBar(evaluation_set.name)
        whole, cut, rejected = ErrorCounts(), ErrorCounts(), 0
        by_speaker: dict[str, list[tuple[str, Waveform]]] = {}
        num_words = num_segments = 0
        for number, utterance in enumerate(evaluation_set.utterances):
            reference = normalise(utterance.text or "")
            waveform = read(utterance)
            without = recognizer.transcribe(waveform, sample_rate=SAMPLE_RATE, endpoint=None)
            with_endpoints = recognizer.transcribe(waveform, sample_rate=SAMPLE_RATE, endpoint=config)
            whole += count_errors(reference, normalise(without.text), unit="word")
            cut += count_errors(reference, normalise(with_endpoints.text), unit="word")
            num_segments += len(with_endpoints.segments)
            num_words += len(with_endpoints.words)
            rejected += sum(len(segment.words) for segment in with_endpoints.segments if not segment.accepted)
            if utterance.speaker is not None:
                by_speaker.setdefault(utterance.speaker, []).append((reference, waveform))
            progress.update(number + 1, len(evaluation_set.utterances))
        joined_whole, joined_cut = ErrorCounts(), ErrorCounts()
        for clips in by_speaker.values():
            reference = " ".join(text for text, _ in clips)
            waveform = np.concatenate([waveform for _, waveform in clips])
            for endpoint in (None, config):
                text = recognizer.transcribe(waveform, sample_rate=SAMPLE_RATE, endpoint=endpoint).text
                errors = count_errors(reference, normalise(text), unit="word")
                if endpoint is None:
                    joined_whole += errors
                else:
                    joined_cut += errors
        progress.clear()
        report[evaluation_set.name] = {
            "clips": len(evaluation_set.utterances),
            "segments": num_segments,
            "wer_clips_percent": round(100 * whole.rate, 2),
            "wer_clips_with_endpoints_percent": round(100 * cut.rate, 2),
            "words_rejected_percent": round(100 * rejected / max(1, num_words), 2),
            **(
                {
                    "wer_streams_percent": round(100 * joined_whole.rate, 2),
                    "wer_streams_with_endpoints_percent": round(100 * joined_cut.rate, 2),
                }
                if by_speaker
                else {}
            ),
        }
    return report


def gate(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    random = np.random.default_rng(0)
    normalise = normaliser(recognizer.bundle.language)
    clips = clear_clips(args, recognizer)
    # The gate closes in every gap.
    longest_s = 2 * GateConfig().close_after_s + GAP_S[1]
    gaps = [background(random, clip, longest_s) for clip in clips]
    speech = np.concatenate([part for clip, gap in zip(clips, gaps, strict=True) for part in (gap, clip.waveform)])
    reference = " ".join(clip.text for clip in clips)
    paths = sorted((args.data or data_dir()).glob("noise/*"))
    sounds = np.concatenate([np.zeros(0, np.float32), *(resample(*read_audio(path), SAMPLE_RATE) for path in paths)])
    report: dict[str, Any] = {}
    for open_db, close_db in (None, None), (6.0, 3.0), (9.0, 6.0), (12.0, 9.0), (18.0, 15.0):
        config = replace(config, gate=None)
        if open_db is not None and close_db is not None:
            config = replace(config, gate=GateConfig(open_db=open_db, close_db=close_db))
        text = recognizer.transcribe(speech, sample_rate=SAMPLE_RATE, endpoint=config).text
        report["no gate" if config.gate is None else f"open {open_db:.0f} dB, close {close_db:.0f} dB"] = {
            "wer_percent": round(100 * count_errors(reference, normalise(text), unit="word").rate, 2),
            "gaps_and_speech_passed_percent": passed_percent(config, speech),
            "noise_passed_percent": passed_percent(config, sounds),
        }
    return report


def passed_percent(config: EndpointConfig, sound: Waveform) -> float:
    """How much of the sound passes the gate."""
    if config.gate is None or not len(sound):
        return 100.0
    gate = EnergyGate(config.gate, sample_rate=SAMPLE_RATE)
    passed = sum(len(stretch.waveform) for block in blocks(sound) for stretch in gate.accept(block))
    return round(100 * passed / len(sound), 1)


def noise(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    paths = sorted((args.data or data_dir()).glob("noise/*"))
    if not paths:
        raise ConfigError(f"no sound in {(args.data or data_dir()) / 'noise'}")
    np.random.default_rng(0).shuffle(paths)
    stream = recognizer.stream(sample_rate=SAMPLE_RATE, endpoint=config)
    heard_s, shown, rejected = 0.0, 0, 0
    progress = ProgressBar("noise")
    for path in cycle(paths):
        sound = resample(*read_audio(path), SAMPLE_RATE)[: round((HOUR_S - heard_s) * SAMPLE_RATE)]
        stream.accept(sound)
        heard_s += len(sound) / SAMPLE_RATE
        progress.update(heard_s, HOUR_S)
        segments = stream.finish().segments if heard_s >= HOUR_S else stream.take_segments()
        shown += sum(len(segment.words) for segment in segments if segment.accepted)
        rejected += sum(len(segment.words) for segment in segments if not segment.accepted)
        if heard_s >= HOUR_S:
            break
    progress.clear()
    return {"hours": round(heard_s / 3600, 3), "false_words": shown, "words_rejected": rejected}


def cpu(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    random = np.random.default_rng(0)
    clips = clear_clips(args, recognizer)
    speech = np.concatenate([clip.waveform for clip in clips])
    silence = background(random, clips[0], 120.0)
    report = {}
    for name, sound in (("silence", silence), ("speech", speech)):
        stream = recognizer.stream(sample_rate=SAMPLE_RATE, endpoint=config, keep_events=True)
        begun_s = time.process_time()
        for block in blocks(sound):
            stream.accept(block)
            stream.take_events()
        stream.finish()
        report[f"{name}_percent_of_a_core"] = round(
            100 * (time.process_time() - begun_s) / (len(sound) / SAMPLE_RATE), 2
        )
    return report


def hour(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    random = np.random.default_rng(0)
    clips = clear_clips(args, recognizer)

    def sound() -> Iterator[Waveform]:
        for clip in cycle(clips):
            yield from blocks(clip.waveform)
            yield from blocks(background(random, clip, random.uniform(GAP_S[0], 2.0)))

    listener = recognizer.listen(sound(), sample_rate=SAMPLE_RATE, endpoint=config)
    progress = ProgressBar("an hour")
    counts = dict.fromkeys((SpeechStarted, Partial, Final, Rejected), 0)
    after_five_minutes = None
    for event in listener:
        counts[type(event)] += 1
        progress.update(listener.heard_s, HOUR_S)
        if after_five_minutes is None and listener.heard_s >= FIVE_MINUTES_S:
            after_five_minutes = own_mb()
        if listener.heard_s >= HOUR_S:
            listener.stop()
    progress.clear()
    ended = counts[Final] + counts[Rejected]
    return {
        "hours": round(listener.heard_s / HOUR_S, 3),
        "started": counts[SpeechStarted],
        "ended": ended,
        "partials": counts[Partial],
        "growth_mb": round(own_mb() - (after_five_minutes or 0.0), 2),
    }


def cycles(args: argparse.Namespace, recognizer: Recognizer, config: EndpointConfig) -> dict[str, Any]:
    random = np.random.default_rng(0)
    clip = min(clear_clips(args, recognizer), key=lambda clip: len(clip.waveform))
    sound = np.concatenate([clip.waveform, background(random, clip, config.min_silence_in_noise_s + 0.5)])
    stream = recognizer.stream(sample_rate=SAMPLE_RATE, endpoint=config, keep_events=True)
    progress = ProgressBar("cycles")
    ended, begin = 0, 0.0
    for number in range(NUM_CYCLES):
        if number == NUM_CYCLES // 10:
            begin = own_mb()
        stream.accept(sound)
        ended += sum(isinstance(event, (Final, Rejected)) for event in stream.take_events())
        stream.reset()
        progress.update(number, NUM_CYCLES)
    progress.clear()
    return {"cycles": NUM_CYCLES, "utterances": ended, "growth_mb": round(own_mb() - begin, 2)}


def own_mb() -> float:
    """Memory of the process now, without the pages of files that it has mapped, such as the language model's."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * resource.getpagesize() / 1e6


def listen(recognizer: Recognizer, config: EndpointConfig, sound: Waveform) -> list[tuple[Event, float]]:
    """Hears the sound block by block; returns the events, and when each was known, on the clock of the sound."""
    stream = recognizer.stream(sample_rate=SAMPLE_RATE, endpoint=config, keep_events=True)
    progress = ProgressBar("listening")
    heard: list[tuple[Event, float]] = []
    done_s = arrived_s = 0.0
    for block in blocks(sound):
        arrived_s += len(block) / SAMPLE_RATE
        begun_s = time.process_time()
        stream.accept(block)
        done_s = max(done_s, arrived_s) + time.process_time() - begun_s
        heard += [(event, done_s) for event in stream.take_events() if not isinstance(event, SpeechStarted)]
        stream.take_segments()
        progress.update(arrived_s, len(sound) / SAMPLE_RATE)
    progress.clear()
    stream.finish()
    return heard


def blocks(sound: Waveform) -> Iterator[Waveform]:
    size = round(BLOCK_S * SAMPLE_RATE)
    for start in range(0, len(sound), size):
        yield sound[start : start + size]


def clear_clips(args: argparse.Namespace, recognizer: Recognizer) -> list[Clip]:
    """The clips whose speech begins and ends clearly, cut to it with a margin on either side that fades."""
    files = [(Path(name), "") for name in args.sets if Path(name).suffix in AUDIO_SUFFIXES]
    if not files:
        normalise = normaliser(recognizer.bundle.language)
        sets = find_sets(args.data or data_dir(), args.sets or DEFAULT_SETS, normalise, limit=args.limit)
        files = [(u.audio, normalise(u.text or "")) for evaluation_set in sets for u in evaluation_set.utterances]
    clips = []
    for file, text in files:
        waveform = resample(*read_audio(file), SAMPLE_RATE)
        start_s, end_s = find_speech(waveform)
        margin = round(MARGIN_S * SAMPLE_RATE)
        if start_s is None or end_s is None:
            continue
        begin, end = round(start_s * SAMPLE_RATE) - margin, round(end_s * SAMPLE_RATE) + margin
        if begin < 0 or end > len(waveform):
            continue
        fade = np.linspace(0, 1, margin, dtype=np.float32)
        speech = waveform[begin:end].copy()
        speech[:margin] *= fade
        speech[-margin:] *= fade[::-1]
        frames = waveform[: len(waveform) // margin * margin].reshape(-1, margin)
        quietest = frames[np.square(frames).sum(axis=1).argmin()]
        clips.append(Clip(speech, quietest, text))
    if len(clips) < 2:
        raise ConfigError("fewer than two clips have speech that begins and ends clearly")
    return clips


def background(random: np.random.Generator, clip: Clip, seconds: float) -> Waveform:
    """Noise as it is in the clip between its words."""
    num_samples = max(0, round(seconds * SAMPLE_RATE))
    if num_samples == 0:
        return np.zeros(0, np.float32)
    shape = np.abs(np.fft.rfft(clip.quietest * np.hanning(len(clip.quietest))))
    white = np.fft.rfft(random.normal(size=num_samples))
    places = np.linspace(0, 1, len(white))
    sound = np.fft.irfft(white * np.interp(places, np.linspace(0, 1, len(shape)), shape), num_samples)
    level = np.sqrt(np.mean(np.square(clip.quietest))) / max(1e-12, float(np.sqrt(np.mean(np.square(sound)))))
    scaled: Waveform = (sound * level).astype(np.float32)
    return scaled


def read(utterance: Utterance) -> Waveform:
    return resample(*read_audio(utterance.audio), SAMPLE_RATE)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    return {name: round(float(np.percentile(values, p)), 3) for name, p in (("p50", 50), ("p90", 90), ("p95", 95))}


MEASUREMENTS = {
    "latency": latency,
    "pauses": pauses,
    "words": words,
    "gate": gate,
    "noise": noise,
    "cpu": cpu,
    "hour": hour,
    "cycles": cycles,
}


if __name__ == "__main__":
    sys.exit(main())
