"""Any CTC model of Hugging Face's transformers, as a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.train.clips import resample
from edgeasr.train.teachers.teacher import Frames, Said, centred, ctc_said, log_softmax
from edgeasr.waveform import Waveform

if TYPE_CHECKING:
    from edgeasr.train.recipe import TokensConfig

SAMPLE_RATE = 16_000


class HuggingFaceCtc:
    """A model that `AutoModelForCTC` loads, with its tokenizer, from a folder; nothing is fetched.

    Its tokens are mapped onto the student's: the padding token is the blank, the word delimiter is the student's,
    letters are compared without case. Tokens that the student lacks are dropped, and their share of the posteriors
    with them. Its features are those of its last hidden layer.

    Example:
        >>> teacher = HuggingFaceCtc(Path("wav2vec2"), TokensConfig())  # doctest: +SKIP
        >>> teacher.hear(waveform, 16000, None).log_probs.shape  # doctest: +SKIP
        (49, 29)
    """

    def __init__(self, folder: Path, tokens: TokensConfig, *, n_best: int = 1) -> None:
        """Loads the model.

        Args:
            folder: As `save_pretrained` of model and tokenizer wrote it, with the feature extractor's configuration
                if the model has one.
            tokens: The student's.
            n_best: How many readings to look for.

        Raises:
            MissingDependencyError: transformers is not installed.
            ConfigError: The folder holds no such model, or none of its tokens is one of the student's.
        """
        try:
            import transformers
        except ImportError as error:
            raise MissingDependencyError(
                "a teacher of kind ctc needs transformers: pip install 'edgeasr[teachers]'"
            ) from error
        try:
            # Names are not exported where the package is lazy about its imports.
            auto: Any = transformers
            self._model = auto.AutoModelForCTC.from_pretrained(folder, local_files_only=True).eval()
            tokenizer = auto.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder} holds no CTC model with its tokenizer: {error}") from error
        self._extractor: Any = None
        if (folder / "preprocessor_config.json").is_file():
            self._extractor = auto.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        self.tokens = tokens.tokens
        self.blank_id = tokens.blank_id
        self._delimiter = tokens.word_delimiter
        self._n_best = n_best
        delimiter = getattr(tokenizer, "word_delimiter_token", None) or " "
        places = {token: place for place, token in enumerate(self.tokens)}
        self._columns: list[tuple[int, int]] = []  # the teacher's token and the student's
        for token, column in sorted(tokenizer.get_vocab().items(), key=lambda item: int(item[1])):
            if column == tokenizer.pad_token_id:
                self._columns.append((column, self.blank_id))
            elif token == delimiter:
                self._columns.append((column, places[self._delimiter]))
            elif token.lower() in places or token in places:
                self._columns.append((column, places[token if token in places else token.lower()]))
        mapped = {student for _, student in self._columns}
        if self.blank_id not in mapped or not mapped - {self.blank_id, places[self._delimiter]}:
            raise ConfigError(f"{folder}: none of its tokens is one of the student's")
        self.token_frames = self.feature_frames = self._frames(self._model.config)
        self.feature_dim = int(self._model.config.hidden_size)

    def hear(self, waveform: Waveform, sample_rate: int, text: str | None) -> Said:
        hidden, logits = self._run(resample(waveform, sample_rate, SAMPLE_RATE))
        log_probs = log_softmax(logits)
        mapped = np.full((len(logits), len(self.tokens)), -np.inf, np.float32)
        for column, student in self._columns:
            mapped[:, student] = np.logaddexp(mapped[:, student], log_probs[:, column])
        return ctc_said(hidden, log_softmax(mapped), self.tokens, self.blank_id, self._delimiter, self._n_best)

    def _run(self, waveform: Waveform) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        import torch

        if self._extractor is None:
            # wav2vec 2.0 and its kin hear sound of mean 0 and deviation 1.
            levelled = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
            inputs: Any = {"input_values": torch.from_numpy(levelled[None])}
        else:
            inputs = self._extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.no_grad():
            output = self._model(**inputs, output_hidden_states=True)
        return output.hidden_states[-1][0].float().numpy(), output.logits[0].float().numpy()

    def _frames(self, config: Any) -> Frames:
        """From the strides of the convolutions in front, or else from how many frames another second brings."""
        kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
        if kernels and strides:
            width, step = 1, 1
            for kernel, stride in zip(kernels, strides, strict=True):
                width += (kernel - 1) * step
                step *= stride
            return Frames(first_s=width / 2 / SAMPLE_RATE, step_s=step / SAMPLE_RATE)
        rng = np.random.default_rng(0)
        counts = [len(self._run(rng.normal(0, 0.1, s * SAMPLE_RATE).astype(np.float32))[1]) for s in (1, 5)]
        return centred(4 / (counts[1] - counts[0]))
