#include "core/token_spellings.h"

#include <algorithm>

namespace edgeasr {

TokenSpellings::TokenSpellings(const std::vector<std::string>& spellings, std::int32_t blank_id) {
  std::vector<std::string> seen;
  for (std::size_t id = 0; id < spellings.size(); ++id) {
    Token token{static_cast<std::uint32_t>(pool_.size()), 0, false, false};
    if (id != static_cast<std::size_t>(blank_id)) {
      const std::string& spelling = spellings[id];
      token.starts_word = !spelling.empty() && spelling.front() == ' ';
      bool space = true;
      for (const char byte : spelling) {
        if (byte != ' ' || !space) pool_ += byte;
        space = byte == ' ';
      }
      token.size = static_cast<std::uint32_t>(pool_.size()) - token.begin;
      token.ends_word = token.size > 0 && pool_.back() == ' ';
    }
    tokens_.push_back(token);
    if (id == static_cast<std::size_t>(blank_id)) continue;
    const std::string_view all = body(static_cast<std::int32_t>(id));
    const std::string piece(all.substr(0, all.size() - (token.ends_word ? 1 : 0)));
    longest_ = std::max(longest_, all.size() + (token.starts_word ? 1U : 0U));
    single_bytes_ = single_bytes_ && all.size() + (token.starts_word ? 1U : 0U) == 1;
    crosses_words_ = crosses_words_ || piece.find(' ') != std::string::npos;
    const unsigned way = (token.starts_word ? 1U : 0U) + (token.ends_word ? 2U : 0U);
    if (piece.size() == 1 && way == 0) single_[static_cast<unsigned char>(piece[0])] = true;
    if (!piece.empty()) pieces_.push_back(Piece{piece, 1U << way});
    seen.push_back((token.starts_word ? " " : "") + std::string(all));
  }
  std::sort(seen.begin(), seen.end());
  if (std::adjacent_find(seen.begin(), seen.end()) != seen.end()) single_bytes_ = false;
  std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.bytes < b.bytes; });
  std::size_t kept = 0;
  for (const Piece& piece : pieces_) {
    if (kept > 0 && pieces_[kept - 1].bytes == piece.bytes) {
      pieces_[kept - 1].ways |= piece.ways;
    } else if (&pieces_[kept++] != &piece) {
      pieces_[kept - 1] = piece;
    }
  }
  pieces_.resize(kept);
}

bool TokenSpellings::can_spell(std::string_view word) const {
  if (std::all_of(word.begin(), word.end(), [this](char byte) { return single_[static_cast<unsigned char>(byte)]; })) {
    return true;
  }
  std::vector<char> reached(word.size() + 1, 0);
  reached[0] = 1;
  for (std::size_t begin = 0; begin < word.size(); ++begin) {
    if (reached[begin] == 0) continue;
    for (std::size_t size = 1; size <= longest_ && begin + size <= word.size(); ++size) {
      if (reached[begin + size] != 0) continue;
      const std::string_view bytes = word.substr(begin, size);
      const auto at = std::lower_bound(pieces_.begin(), pieces_.end(), bytes,
                                       [](const Piece& a, std::string_view b) { return a.bytes < b; });
      if (at == pieces_.end() || at->bytes != bytes) continue;
      const bool first = begin == 0;
      const bool last = begin + size == word.size();
      const unsigned usable = 1U | (first ? 2U : 0U) | (last ? 4U : 0U) | (first && last ? 8U : 0U);
      if ((at->ways & usable) != 0) reached[begin + size] = 1;
    }
  }
  return reached[word.size()] != 0;
}

std::string TokenSpellings::text(const std::vector<std::int32_t>& token_ids) const {
  std::string text;
  const auto add = [&text](char byte) {
    if (byte != ' ' || (!text.empty() && text.back() != ' ')) text += byte;
  };
  for (const std::int32_t id : token_ids) {
    if (starts_word(id)) add(' ');
    for (const char byte : body(id)) add(byte);
  }
  if (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

TokenSpellings spell_tokens(const TokenNames& tokens, std::int32_t blank_id) {
  std::vector<std::string> spellings = tokens.names;
  const std::string& delimiter = tokens.word_delimiter;
  if (!delimiter.empty()) {
    for (std::string& spelling : spellings) {
      for (std::size_t at = spelling.find(delimiter); at != std::string::npos; at = spelling.find(delimiter, at + 1)) {
        spelling.replace(at, delimiter.size(), " ");
      }
    }
  }
  return {spellings, blank_id};
}

}  // namespace edgeasr
