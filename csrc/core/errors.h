// The errors that the core throws. The bindings turn each into its class in edgeasr.errors.
#pragma once

#include <stdexcept>
#include <string>

namespace edgeasr {

// Root of all errors of the core.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A configuration that cannot work; the message names the field and its value.
class ConfigError : public Error {
 public:
  using Error::Error;
};

// Data that cannot be processed: a wrong size, NaN or infinite values.
class InputError : public Error {
 public:
  using Error::Error;
};

// A language model that is missing, damaged, foreign or of a newer version; the message names the file.
class LanguageModelError : public Error {
 public:
  using Error::Error;
};

// A call that the stream's state does not allow, such as accept() after finish().
class StreamStateError : public Error {
 public:
  using Error::Error;
};

}  // namespace edgeasr
