// A list of words as a trie over the bytes of their spellings.
//
// The trie knows nothing of tokens: the search walks it byte by byte, so that every way to cut a word into tokens is
// accepted. Nodes are numbered level by level; the children of a node stand side by side, behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgeasr {

class Lexicon {
 public:
  static constexpr std::int32_t kNone = -1;

  // A word as it is written in the result, and a way to spell it in tokens.
  struct Entry {
    std::string_view word;
    std::string_view spelling;
  };

  // Of entries with one spelling the first counts: num_hidden() says how many others have another word. Throws
  // InputError for an empty spelling, for more than 2^30 bytes, and for a space or a line break in a word or spelling.
  explicit Lexicon(const std::vector<Entry>& entries);
  // The words of a text, one a line: `word`, or `word<TAB>spelling<TAB>spelling...` with extra spellings. A word is
  // also spelled as it is written. Empty lines do not count; "\r" at the end of a line is dropped. Throws InputError
  // that starts with "NAME:LINE:".
  static Lexicon parse(std::string_view text, const std::string& name);

  std::size_t num_words() const { return word_begin_.size() - 1; }
  std::size_t num_nodes() const { return nodes_.size(); }
  std::size_t num_hidden() const { return num_hidden_; }
  // Whether some word has a spelling other than itself.
  bool rewrites() const { return rewrites_; }
  std::string_view word(std::int32_t index) const {
    const auto i = static_cast<std::size_t>(index);
    return std::string_view(words_).substr(word_begin_[i], word_begin_[i + 1] - word_begin_[i]);
  }

  std::int32_t root() const { return 0; }
  // The node one byte further; kNone where no spelling goes on like this.
  std::int32_t child(std::int32_t node, char byte) const {
    const Node& from = at(node);
    const auto label = static_cast<unsigned char>(byte);
    if ((from.mask >> (label % 32U) & 1U) == 0U) return kNone;
    const std::uint32_t end = from.first_child + from.num_children;
    for (std::uint32_t at = from.first_child; at < end; ++at) {
      if (nodes_[at].label == label) return static_cast<std::int32_t>(at);
    }
    return kNone;
  }
  // The word that is complete at the node, or kNone.
  std::int32_t word_at(std::int32_t node) const { return at(node).word; }
  // The word that a spelling stands for, or kNone.
  std::int32_t find(std::string_view spelling) const;

  // Goes through all spellings: visit(spelling, word).
  template <class Visit>
  void visit_spellings(Visit&& visit) const {
    std::string spelling;
    visit_below(root(), spelling, visit);
  }

  // Goes through all nodes behind their children: visit(node, parent); the root has the parent kNone.
  template <class Visit>
  void visit_upwards(Visit&& visit) const {
    std::vector<std::int32_t> parent(nodes_.size(), kNone);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      for (std::uint32_t c = 0; c < nodes_[i].num_children; ++c) {
        parent[nodes_[i].first_child + c] = static_cast<std::int32_t>(i);
      }
    }
    for (std::size_t i = nodes_.size(); i-- > 0;) visit(static_cast<std::int32_t>(i), parent[i]);
  }

 private:
  struct Node {
    std::uint32_t mask = 0;  // bit (label % 32) of each child
    std::uint32_t first_child = 0;
    std::int32_t word = kNone;
    std::uint8_t label = 0;
    std::uint8_t num_children = 0;  // at most 253: neither a space nor a line break is a label
  };
  template <class Visit>
  void visit_below(std::int32_t root, std::string& spelling, Visit& visit) const {
    // Without recursion: a spelling may be long.
    std::vector<std::pair<std::int32_t, std::size_t>> stack{{root, 0}};
    while (!stack.empty()) {
      const auto [index, depth] = stack.back();
      stack.pop_back();
      const Node& node = at(index);
      if (depth > 0) {
        spelling.resize(depth - 1);
        spelling += static_cast<char>(node.label);
      }
      if (node.word != kNone) visit(std::string_view(spelling), word(node.word));
      for (std::uint32_t c = node.num_children; c-- > 0;) {
        stack.emplace_back(static_cast<std::int32_t>(node.first_child + c), depth + 1);
      }
    }
  }
  const Node& at(std::int32_t node) const { return nodes_[static_cast<std::size_t>(node)]; }

  std::vector<Node> nodes_;
  std::string words_;
  std::vector<std::uint32_t> word_begin_;
  std::size_t num_hidden_ = 0;
  bool rewrites_ = false;
};

}  // namespace edgeasr
