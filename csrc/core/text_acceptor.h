// What a constrained search asks: how may the text go on? A grammar answers it; so can anything else that knows which
// texts are possible.
#pragma once

#include <cstdint>

namespace edgeasr {

// A deterministic automaton over the bytes of a text in UTF-8: words joined by one space, none at either end.
//
// - It never leads into a dead end: from each state that advance() returns, some text leads on to a final one. A space
//   is thus accepted only where another word can follow.
// - It carries no weights: texts are possible or not, and which of them was said is for the acoustics (and a language
//   model, if there is one) to tell. A ratio of the likelihoods of constrained and open search is then just that.
// - It is shared between threads: all calls are thread-safe. States may be made while they are asked for; they stay
//   valid, and equal states stay equal numbers, as long as the acceptor lives.
class TextAcceptor {
 public:
  using State = std::uint32_t;
  static constexpr State kNone = 0xFFFFFFFF;

  TextAcceptor() = default;
  TextAcceptor(const TextAcceptor&) = delete;
  TextAcceptor& operator=(const TextAcceptor&) = delete;
  virtual ~TextAcceptor() = default;

  // Of the empty text.
  virtual State start() const = 0;
  // After one more byte; kNone where no text goes on like this. `state` must be one that start() or advance() returned,
  // not kNone. May throw an Error when the automaton would grow beyond the limit that it was given.
  virtual State advance(State state, char byte) const = 0;
  // Whether the text may end here.
  virtual bool is_final(State state) const = 0;
};

}  // namespace edgeasr
