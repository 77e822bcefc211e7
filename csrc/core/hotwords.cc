#include "core/hotwords.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/errors.h"

namespace edgeasr {
namespace {

// All phrases begin with the space before them, and end with the one behind them.
constexpr Hotwords::State kAfterSpace = 0;

void check(const Hotwords::Phrase& phrase) {
  const std::string& text = phrase.text;
  const auto refuse = [&text](const char* why) { throw ConfigError("the hotword \"" + text + "\" " + why); };
  if (text.find_first_not_of(' ') == std::string::npos) refuse("has no letters");
  if (text.front() == ' ' || text.back() == ' ' || text.find("  ") != std::string::npos) {
    refuse("has spaces at its ends or two in a row, expected words joined by one space");
  }
  if (text.find_first_of("\t\n\r") != std::string::npos) refuse("has a tab or a line break inside");
  if (std::isinf(phrase.boost)) refuse("has an infinite boost");
}

std::shared_ptr<const Lexicon> words_of(const std::vector<Hotwords::Phrase>& phrases) {
  std::vector<Lexicon::Entry> entries;
  for (const Hotwords::Phrase& phrase : phrases) {
    std::string_view rest = phrase.text;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(' '), rest.size());
      entries.push_back(Lexicon::Entry{rest.substr(0, end), rest.substr(0, end)});
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return std::make_shared<const Lexicon>(entries);
}

// Sorted as they are with the space behind them, and of equal ones the last.
std::vector<Hotwords::Phrase> checked(std::vector<Hotwords::Phrase> phrases) {
  for (const Hotwords::Phrase& phrase : phrases) check(phrase);
  std::stable_sort(phrases.begin(), phrases.end(), [](const Hotwords::Phrase& a, const Hotwords::Phrase& b) {
    const std::size_t common = std::min(a.text.size(), b.text.size());
    const int order = std::string_view(a.text).substr(0, common).compare(std::string_view(b.text).substr(0, common));
    if (order != 0) return order < 0;
    // The shorter one goes on with a space.
    const auto next = [common](const std::string& text) {
      return common < text.size() ? static_cast<unsigned char>(text[common]) : static_cast<unsigned char>(' ');
    };
    return next(a.text) != next(b.text) ? next(a.text) < next(b.text) : a.text.size() < b.text.size();
  });
  std::vector<Hotwords::Phrase> kept;
  for (Hotwords::Phrase& phrase : phrases) {
    if (!kept.empty() && kept.back().text == phrase.text) kept.pop_back();
    kept.push_back(std::move(phrase));
  }
  return kept;
}

}  // namespace

Hotwords::Hotwords(std::vector<Phrase> phrases) : phrases_(checked(std::move(phrases))), words_(words_of(phrases_)) {
  struct Range {
    std::uint32_t begin;
    std::uint32_t end;
    State node;
  };
  // The byte of a phrase with its space.
  const auto byte_at = [this](std::uint32_t phrase, std::size_t depth) {
    const std::string& text = phrases_[phrase].text;
    return depth < text.size() ? static_cast<unsigned char>(text[depth]) : static_cast<unsigned char>(' ');
  };
  nodes_.resize(2);
  std::vector<Range> level;
  if (!phrases_.empty()) level.push_back(Range{0, static_cast<std::uint32_t>(phrases_.size()), kAfterSpace});
  std::vector<Range> next;
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    next.clear();
    for (const Range& range : level) {
      std::uint32_t begin = range.begin;
      if (depth == phrases_[begin].text.size() + 1) ends_.push_back(End{range.node, begin++});
      nodes_[range.node].first_edge = static_cast<std::uint32_t>(edges_.size());
      while (begin < range.end) {
        const unsigned char label = byte_at(begin, depth);
        std::uint32_t after = begin + 1;
        while (after < range.end && byte_at(after, depth) == label) ++after;
        const auto to = static_cast<State>(nodes_.size());
        edges_.push_back(Edge{label, to});
        ++nodes_[range.node].num_edges;
        Node node;
        node.parent = range.node;
        node.depth = static_cast<std::uint32_t>(depth) + 1;
        nodes_.push_back(node);
        next.push_back(Range{begin, after, to});
        begin = after;
      }
    }
    level.swap(next);
  }
  link();
}

// Nodes are numbered by depth, so that the shorter ones that a node may fall back to are linked before it.
void Hotwords::link() {
  for (const Node& node : nodes_) {
    for (std::uint32_t e = 0; e < node.num_edges; ++e) {
      const Edge& edge = edges_[node.first_edge + e];
      nodes_[edge.to].fail = advance(node.fail, static_cast<char>(edge.label));
    }
  }
}

Hotwords::State Hotwords::advance(State state, char byte) const {
  const auto label = static_cast<unsigned char>(byte);
  while (state != kIdle) {
    const Node& node = nodes_[state];
    const auto first = edges_.begin() + node.first_edge;
    const auto last = first + node.num_edges;
    const auto at =
        std::lower_bound(first, last, label, [](const Edge& edge, unsigned char value) { return edge.label < value; });
    if (at != last && at->label == label) return at->to;
    state = node.fail;
  }
  return byte == ' ' ? kAfterSpace : kIdle;
}

Hotwords::Values Hotwords::values(double default_boost) const {
  Values values;
  values.done.assign(nodes_.size(), 0.0);
  values.partial.assign(nodes_.size(), 0.0);
  for (const End& end : ends_) {
    const Phrase& phrase = phrases_[end.phrase];
    const double boost = std::isnan(phrase.boost) ? default_boost : phrase.boost;
    values.done[end.state] = boost;
    if (boost <= 0.0) continue;
    const double share = boost / static_cast<double>(phrase.text.size() + 1);
    for (State state = nodes_[end.state].parent; state != kIdle; state = nodes_[state].parent) {
      values.partial[state] = std::max(values.partial[state], share * nodes_[state].depth);
    }
  }
  for (State state = 0; state < nodes_.size(); ++state) {
    if (state == kIdle) continue;
    const Node& node = nodes_[state];
    values.done[state] += values.done[node.fail];
    values.partial[state] = std::max(values.partial[state], values.partial[node.fail]);
    if (node.parent == kIdle) continue;
    values.largest_step =
        std::max(values.largest_step, values.done[state] + values.partial[state] - values.partial[node.parent]);
  }
  return values;
}

}  // namespace edgeasr
