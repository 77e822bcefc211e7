"""The errors of edgeasr: one root, and each class also inherits the builtin a caller would expect."""


class EdgeAsrError(Exception):
    """Root of every error that edgeasr raises on purpose."""


class ConfigError(EdgeAsrError, ValueError):
    """A configuration that cannot work; the message names the field, its value and what is allowed."""


class InputError(EdgeAsrError, ValueError):
    """An array of a wrong shape, dtype or content (NaN, infinite, not normalised)."""


class AudioFormatError(EdgeAsrError, ValueError):
    """A sound file that cannot be read, or not to its end."""


class MicrophoneError(EdgeAsrError, OSError):
    """A microphone that is not there, cannot record, or has gone silent."""


class BundleError(EdgeAsrError, OSError):
    """A bundle that is missing, damaged, foreign or of a newer version."""


class LanguageModelError(EdgeAsrError, OSError):
    """A language model that is missing, damaged, foreign or of a newer version; the message names the file."""


class StreamStateError(EdgeAsrError, RuntimeError):
    """A call that the stream's state does not allow, such as accept() after finish()."""


class MissingDependencyError(EdgeAsrError, ImportError):
    """An optional package or program is not installed; the message names the command that installs it."""
