"""The model card: measured figures in a bundle's `config.json`, and the same for people in its `README.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeasr.bundle import Bundle, read_bundle, update_bundle
from edgeasr.errors import BundleError

EVALUATION = "evaluation"


def write_card(bundle_dir: Path, evaluation: Mapping[str, Any], command: str) -> Bundle:
    """Puts an evaluation into a bundle's card and writes its `README.md` anew.

    Args:
        bundle_dir: the bundle.
        evaluation: what `edgeasr evaluate --json` writes.
        command: the command that measured it.

    Returns:
        The bundle, read back.

    Raises:
        BundleError: the bundle cannot be read, or the evaluation is not of this bundle.
    """
    bundle = read_bundle(bundle_dir)
    if not any(system["name"].startswith(f"{bundle.name} ") for system in evaluation["systems"]):
        raise BundleError(f"{bundle_dir}: the evaluation has no figures of {bundle.name}")
    card = {**bundle.card, EVALUATION: {"command": command, **evaluation}}
    bundle = update_bundle(bundle_dir, card=card)
    return update_bundle(bundle_dir, readme=readme(bundle))


def readme(bundle: Bundle) -> str:
    """The model card as Markdown."""
    card, model = bundle.card, bundle.model
    letters = "lower-case letters and apostrophes" if bundle.language == "en" else "words"
    frame_ms = 1000 * bundle.frontend.hop_length / bundle.sample_rate
    lines = [
        f"# {bundle.name}",
        "",
        bundle.description,
        "",
        f"- language: {bundle.language}; licence: {bundle.licence}; version {bundle.version}",
        f"- {card['parameters'] / 1e6:.2f} M parameters, matrices in {model.precision}, "
        f"{sum(bundle.files[name].bytes for name in model.files) / 1e6:.2f} MB{_language_model(bundle)}",
        f"- hears {bundle.sample_rate} Hz in chunks of {model.chunk_frames * frame_ms:.0f} ms, with "
        f"{model.lookahead_frames * frame_ms:.0f} ms of look-ahead; "
        f"{len(bundle.tokens)} tokens, one row of log-probs every {1000 * bundle.frame_s:.0f} ms",
        f"- writes {letters}: no digits, no punctuation",
        "",
        "## Training",
        "",
        f"{str(card['trained_on']).strip()}; {card['updates']} updates.",
        "",
    ]
    if EVALUATION in card:
        lines += evaluation_lines(card[EVALUATION], card.get("sets", {}))
    return "\n".join(lines)


def _language_model(bundle: Bundle) -> str:
    """What the card says of the language model's size."""
    if bundle.language_model is None:
        return ""
    return f"; an n-gram language model, {bundle.files[bundle.language_model].bytes / 1e6:.2f} MB"


def evaluation_lines(evaluation: Mapping[str, Any], set_names: Mapping[str, str]) -> list[str]:
    """The section of measured figures."""
    systems = evaluation["systems"]
    intervals = evaluation["intervals"]
    lines = ["## Measured", "", f"`{evaluation['command']}`", ""]
    lines.append(f"Intervals: {intervals['level']:.0%}, bootstrap by {intervals['resampled']}.")
    for title, key in (("Word error rate, %", "wer_percent"), ("Character error rate, %", "cer_percent")):
        lines += ["", f"### {title}", "", *rate_table(systems, key, set_names)]
    lines += command_lines(systems)
    lines += [
        "",
        "### Resources",
        "",
        "One thread; CPU seconds for a second of sound, decoding of the file included.",
        "",
    ]
    lines += ["| system | CPU s/s | load, CPU s | peak memory, MB |", "|---|---|---|---|"]
    for system in systems:
        audio_s = sum(row["audio_s"] for row in measured_sets(system).values())
        cpu_s = sum(row["audio_s"] * row["real_time_factor"] for row in measured_sets(system).values())
        load = f"{system['load_cpu_s']:.2f} | {system['peak_memory_mb']:.0f}"
        lines.append(f"| {system['name']} | {cpu_s / audio_s:.4f} | {load} |")
    for grouping in ("gender", "age"):
        lines += group_table(systems[0], grouping)
    return [*lines, ""]


def measured_sets(system: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of each set, without those of all sets together."""
    return {name: row for name, row in system["sets"].items() if "." in name}


def rate_table(systems: Sequence[Mapping[str, Any]], key: str, set_names: Mapping[str, str]) -> list[str]:
    """A row for each set, a column for each system."""
    lines = [f"| set | clips | {' | '.join(s['name'] for s in systems)} |", "|---" * (2 + len(systems)) + "|"]
    for name, row in systems[0]["sets"].items():
        cells = [shown(system["sets"][name][key]) for system in systems]
        label = f"{name}: {set_names[name]}" if name in set_names else name
        lines.append(f"| {label} | {row['clips']} | {' | '.join(cells)} |")
    return lines


def command_lines(systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Accuracy and F1 of sets of commands; nothing where there is none."""
    rows = [
        f"| {name} | {system['name']} | {shown(row['accuracy_percent'])} | {shown(row['macro_f1_percent'])} | "
        f"{row['none_percent']:.1f} |"
        for system in systems
        for name, row in system.get("labels", {}).items()
    ]
    if not rows:
        return []
    header = ["| set | system | accuracy % | macro F1 % | no command % |", "|---|---|---|---|---|"]
    return ["", "### Commands", "", *header, *rows]


def group_table(system: Mapping[str, Any], grouping: str) -> list[str]:
    """Error rates of the groups of speakers in the sets that know them; nothing where none does."""
    rows = [
        f"| {name} | {group} | {row['clips']} | {shown(row['wer_percent'])} | {shown(row['cer_percent'])} |"
        for name, figures in measured_sets(system).items()
        for group, row in figures.get(grouping, {}).items()
    ]
    if not rows:
        return []
    header = [f"| set | {grouping} | clips | WER % | CER % |", "|---|---|---|---|---|"]
    return ["", f"### By {grouping} ({system['name']})", "", *header, *rows]


def shown(interval: Mapping[str, float | None]) -> str:
    """A rate with its interval."""
    if interval["low"] is None or interval["high"] is None:
        return f"{interval['value']:.1f}"
    return f"{interval['value']:.1f} ({interval['low']:.1f} to {interval['high']:.1f})"
