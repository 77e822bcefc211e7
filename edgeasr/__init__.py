"""Speech recognition for small computers.

`Recognizer` loads a bundle; `Recognizer.transcribe` recognises files and arrays, `Recognizer.stream` live sound, and
`Recognizer.listen` makes events of it; `CommandRecognizer` tells the sentences of a `Grammar` from other speech. The
names below are imported when they are first used, so that `import edgeasr` costs nothing.
"""

from pkgutil import extend_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeasr.command import CommandPartial, CommandRecognizer, CommandResult, CommandStream
    from edgeasr.endpoint import EndpointConfig
    from edgeasr.errors import (
        AudioFormatError,
        BundleError,
        ConfigError,
        EdgeAsrError,
        InputError,
        LanguageModelError,
        MicrophoneError,
        MissingDependencyError,
        StreamStateError,
    )
    from edgeasr.grammar import Grammar
    from edgeasr.lm import LanguageModel
    from edgeasr.recognizer import Recognizer
    from edgeasr.stream import Stream
    from edgeasr.types import Partial, Segment, Transcript, Word

__all__ = [
    "AudioFormatError",
    "BundleError",
    "CommandPartial",
    "CommandRecognizer",
    "CommandResult",
    "CommandStream",
    "ConfigError",
    "EdgeAsrError",
    "EndpointConfig",
    "Grammar",
    "InputError",
    "LanguageModel",
    "LanguageModelError",
    "MicrophoneError",
    "MissingDependencyError",
    "Partial",
    "Recognizer",
    "Segment",
    "Stream",
    "StreamStateError",
    "Transcript",
    "Word",
]

__version__ = "0.1.0"

# In a checkout Python may find this folder before the installed package, which alone has the compiled core and the
# bundles; with both on the path, `import edgeasr` works there too.
__path__ = extend_path(__path__, __name__)

_MODULES = {
    "EndpointConfig": "edgeasr.endpoint",
    "Recognizer": "edgeasr.recognizer",
    "Stream": "edgeasr.stream",
    "CommandPartial": "edgeasr.command",
    "CommandRecognizer": "edgeasr.command",
    "CommandResult": "edgeasr.command",
    "CommandStream": "edgeasr.command",
    "Grammar": "edgeasr.grammar",
    "LanguageModel": "edgeasr.lm",
    "Partial": "edgeasr.types",
    "Segment": "edgeasr.types",
    "Transcript": "edgeasr.types",
    "Word": "edgeasr.types",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES.get(name, "edgeasr.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
