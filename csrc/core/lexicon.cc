#include "core/lexicon.h"

#include <algorithm>

#include "core/errors.h"

namespace edgeasr {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 30U;

void require_one_word(std::string_view text, const char* what) {
  if (text.empty()) throw InputError(std::string(what) + " is empty");
  if (text.find_first_of(" \n\r") != std::string_view::npos) {
    throw InputError(std::string(what) + " \"" + std::string(text) + "\" has a space or a line break inside");
  }
}

}  // namespace

Lexicon::Lexicon(const std::vector<Entry>& entries) {
  struct Item {
    std::string_view spelling;
    std::uint32_t entry = 0;
  };
  std::vector<Item> items;
  items.reserve(entries.size());
  std::size_t num_bytes = 0;
  bool sorted = true;
  for (const Entry& entry : entries) {
    require_one_word(entry.word, "a word");
    require_one_word(entry.spelling, "a spelling");
    num_bytes += entry.word.size() + entry.spelling.size();
    sorted = sorted && (items.empty() || items.back().spelling < entry.spelling);
    items.push_back(Item{entry.spelling, static_cast<std::uint32_t>(items.size())});
  }
  if (num_bytes > kMaxBytes || entries.size() > kMaxBytes) throw InputError("the lexicon has more than 2^30 bytes");
  if (!sorted) {
    std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
      const int order = a.spelling.compare(b.spelling);
      return order != 0 ? order < 0 : a.entry < b.entry;
    });
  }
  // Words are numbered in the order of the spellings that stay; those with several spellings are stored for each.
  word_begin_.push_back(0);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Entry& entry = entries[items[i].entry];
    if (i > 0 && items[i].spelling == items[kept - 1].spelling) {
      num_hidden_ += entry.word != word(static_cast<std::int32_t>(kept) - 1) ? 1 : 0;
      continue;
    }
    rewrites_ = rewrites_ || entry.word != entry.spelling;
    words_ += entry.word;
    word_begin_.push_back(static_cast<std::uint32_t>(words_.size()));
    items[kept++] = items[i];
  }
  items.resize(kept);
  // Level by level: a node is a range of the sorted spellings with a common beginning.
  struct Range {
    std::uint32_t begin;
    std::uint32_t end;
  };
  std::vector<Range> level{Range{0, static_cast<std::uint32_t>(kept)}};
  std::vector<Range> next;
  nodes_.emplace_back();
  std::size_t first_of_level = 0;
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    next.clear();
    for (std::size_t i = 0; i < level.size(); ++i) {
      Node node = nodes_[first_of_level + i];
      std::uint32_t begin = level[i].begin;
      const std::uint32_t end = level[i].end;
      if (begin < end && items[begin].spelling.size() == depth) node.word = static_cast<std::int32_t>(begin++);
      node.first_child = static_cast<std::uint32_t>(nodes_.size());
      while (begin < end) {
        const auto label = static_cast<unsigned char>(items[begin].spelling[depth]);
        std::uint32_t after = begin + 1;
        while (after < end && static_cast<unsigned char>(items[after].spelling[depth]) == label) ++after;
        next.push_back(Range{begin, after});
        node.mask |= 1U << (label % 32U);
        ++node.num_children;
        Node child;
        child.label = label;
        nodes_.push_back(child);
        begin = after;
      }
      nodes_[first_of_level + i] = node;
    }
    first_of_level += level.size();
    level.swap(next);
  }
  nodes_.shrink_to_fit();
}

Lexicon Lexicon::parse(std::string_view text, const std::string& name) {
  std::vector<Entry> entries;
  std::size_t line_number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    try {
      std::size_t tab = std::min(line.find('\t'), line.size());
      const std::string_view word = line.substr(0, tab);
      require_one_word(word, "the word");
      entries.push_back(Entry{word, word});
      while (tab < line.size()) {
        line.remove_prefix(tab + 1);
        tab = std::min(line.find('\t'), line.size());
        require_one_word(line.substr(0, tab), "the spelling");
        entries.push_back(Entry{word, line.substr(0, tab)});
      }
    } catch (const InputError& error) {
      throw InputError(name + ":" + std::to_string(line_number) + ": " + error.what() +
                       "; expected WORD or WORD<TAB>SPELLING, one word a line");
    }
  }
  return Lexicon(entries);
}

std::int32_t Lexicon::find(std::string_view spelling) const {
  std::int32_t node = root();
  for (const char byte : spelling) {
    node = child(node, byte);
    if (node == kNone) return kNone;
  }
  return word_at(node);
}

}  // namespace edgeasr
