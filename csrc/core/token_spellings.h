// What the tokens of a vocabulary spell, as bytes of UTF-8 with a space between words.
//
// A text is words joined by one space. So a space adds nothing at the start of a text and after another space, and a
// token that begins with one ("▁the") spells the same from "see" and from "see ": "see the".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgeasr {

class TokenSpellings {
 public:
  // `spellings` by token id, a space for the word delimiter; that of the blank does not count.
  TokenSpellings(const std::vector<std::string>& spellings, std::int32_t blank_id);

  std::size_t size() const { return tokens_.size(); }
  // Whether the token begins with a space.
  bool starts_word(std::int32_t token) const { return at(token).starts_word; }
  // Whether it ends with one (a token that is only a space does not count).
  bool ends_word(std::int32_t token) const { return at(token).ends_word; }
  // What follows the space at its start, if there is one; within and at the end there may be single spaces.
  std::string_view body(std::int32_t token) const {
    const Token& t = at(token);
    return std::string_view(pool_).substr(t.begin, t.size);
  }

  // Whether each token is one byte and no two are equal: then different token sequences spell different texts, but for
  // spaces.
  bool single_bytes() const { return single_bytes_; }
  // Whether a token has a space between other bytes.
  bool crosses_words() const { return crosses_words_; }
  // The most bytes that a token adds.
  std::size_t longest() const { return longest_; }

  // Whether some sequence of tokens spells the word.
  bool can_spell(std::string_view word) const;

  // The tokens' text, without spaces at its ends.
  std::string text(const std::vector<std::int32_t>& token_ids) const;

 private:
  struct Token {
    std::uint32_t begin;
    std::uint32_t size;
    bool starts_word;
    bool ends_word;
  };
  const Token& at(std::int32_t token) const { return tokens_[static_cast<std::size_t>(token)]; }

  // What tokens spell without the spaces at their ends, and in which ways there is a token: bit 0, without spaces;
  // bit 1, with one at the start; bit 2, at the end; bit 3, at both.
  struct Piece {
    std::string bytes;
    unsigned ways = 0;
  };

  std::string pool_;
  std::vector<Token> tokens_;
  std::vector<Piece> pieces_;  // sorted, each once
  std::size_t longest_ = 0;
  bool single_bytes_ = true;
  bool crosses_words_ = false;
  bool single_[256] = {};  // bytes that are tokens without a space
};

// What the tokens are called, where it is known: by token id, with the string that stands for a space in them.
struct TokenNames {
  std::vector<std::string> names;
  std::string word_delimiter;
};

TokenSpellings spell_tokens(const TokenNames& tokens, std::int32_t blank_id);

}  // namespace edgeasr
