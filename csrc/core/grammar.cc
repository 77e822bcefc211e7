#include "core/grammar.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/errors.h"
#include "core/number_words.h"

namespace edgeasr {
namespace {

using Kind = GrammarExpression::Kind;
using NodeId = std::uint32_t;

constexpr NodeId kNoNode = 0xFFFFFFFF;

// Rules that refer to rules that refer to rules: no more than this.
constexpr std::size_t kMaxReferenceDepth = 100;
// Places that a state of the automaton may stand for, and a parse may try.
constexpr std::size_t kMaxPlaces = std::size_t{1} << 16U;
constexpr std::size_t kMaxParseSteps = std::size_t{1} << 22U;
// A value that says no more texts than this is written out.
constexpr std::size_t kMaxTexts = 64;
constexpr const char* kEndOfWord = "\x01";

enum class NodeKind : std::uint8_t {
  kBranch,    // reads a byte: edges_[a, a + b); where it is the end of a value too, c is the way out, else kNoNode
  kSplit,     // goes on at each of targets_[a, a + b); where c is 0, the others than the first skip a phrase
  kGap,       // a new word begins; then a
  kCall,      // goes through a, and comes back to b; what was said fills the slot c, unless that is kNoNode
  kValue,     // the value a was said; then b
  kSentence,  // this is the sentence a; then b
  kReturn,    // goes back to where the call was
  kAccept,    // the end of a sentence
};

struct Node {
  NodeKind kind;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = kNoNode;
};

struct Edge {
  std::uint8_t byte;
  NodeId target;
};

struct Value {
  std::string out;
  bool has_out;
  bool is_number;
};

struct Sentence {
  std::uint32_t block;  // of the grammar's intents
  std::uint32_t line;
};

struct Block {
  std::uint32_t intent;
  std::vector<std::pair<std::string, std::string>> slots;
};

// A piece of a word that the tokens have to spell.
struct Literal {
  std::string text;
  bool is_word;  // nothing else can be joined to it
  GrammarPosition at;
};

// What the bytes so far allow next.
enum Mode : std::uint8_t {
  kInWord = 0,     // a byte of the word, or whatever the graph says
  kPending = 1,    // a gap was passed: a space, if anything
  kWordStart = 2,  // a byte of a new word
};

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15U + (hash << 6U) + (hash >> 2U);
  hash *= 0xFF51AFD7ED558CCDU;
  return hash ^ (hash >> 32U);
}

// Return addresses of calls, in lists that share their ends. 0 is the empty one.
class Stacks {
 public:
  std::uint32_t push(NodeId node, std::uint32_t below) {
    const std::uint64_t key = std::uint64_t{node} << 32U | below;
    const auto [found, added] = ids_.try_emplace(key, static_cast<std::uint32_t>(frames_.size() + 1));
    if (added) frames_.push_back(key);
    return found->second;
  }
  NodeId top(std::uint32_t stack) const { return static_cast<NodeId>(frames_[stack - 1] >> 32U); }
  std::uint32_t below(std::uint32_t stack) const { return static_cast<std::uint32_t>(frames_[stack - 1]); }
  std::size_t size() const { return frames_.size(); }

 private:
  std::vector<std::uint64_t> frames_;
  std::unordered_map<std::uint64_t, std::uint32_t> ids_;
};

}  // namespace

struct Grammar::Graph {
  std::string name;
  LetterCase letters = LetterCase::kLower;
  GrammarLimits limits;
  std::vector<Node> nodes;
  std::vector<std::uint32_t> leaves;  // of each node: how many values a list's branch leads to, 1 for all others
  std::vector<Edge> edges;
  std::vector<NodeId> targets;
  std::vector<std::string> slots;
  std::vector<Value> values;
  std::vector<Sentence> sentences;
  std::vector<Block> blocks;
  std::vector<std::string> intents;
  std::vector<Literal> literals;
  NodeId root = kNoNode;
  std::array<std::uint8_t, 256> byte_class{};  // 0: in no text
  std::uint32_t num_classes = 0;
  double num_readings = 0.0;

  // Where the branch goes on with this byte.
  NodeId follow(const Node& branch, std::uint8_t byte) const {
    const auto begin = edges.begin() + static_cast<std::ptrdiff_t>(branch.a);
    const auto end = begin + static_cast<std::ptrdiff_t>(branch.b);
    const auto found =
        std::lower_bound(begin, end, byte, [](const Edge& edge, std::uint8_t wanted) { return edge.byte < wanted; });
    return found != end && found->byte == byte ? found->target : kNoNode;
  }
};

// Builds the graph from the ends of the sentences to their starts, so that a node knows what follows it, and equal
// nodes are made once.
class Grammar::Compiler {
 public:
  Compiler(const GrammarText& text, const std::string& name, LetterCase letters, const GrammarLimits& limits)
      : text_(text) {
    graph_.name = name;
    graph_.letters = letters;
    graph_.limits = limits;
  }

  Graph compile() {
    check_all();
    return_ = add(Node{NodeKind::kReturn});
    const NodeId accept = add(Node{NodeKind::kAccept});
    NodeId skip = kNoNode;
    if (text_.has_skip) skip = build(text_.skip.expression, return_, false, false);

    std::vector<NodeId> starts;
    std::map<std::string, std::uint32_t> intent_ids;
    for (const GrammarIntent& block : text_.intents) {
      const auto [found, added] = intent_ids.try_emplace(block.name, static_cast<std::uint32_t>(graph_.intents.size()));
      if (added) graph_.intents.push_back(block.name);
      graph_.blocks.push_back(Block{found->second, block.slots});
      for (const GrammarExpression& sentence : block.sentences) {
        skip_ = skip;
        NodeId end = accept;
        if (skip != kNoNode) end = split({accept, add(Node{NodeKind::kGap, call(skip, accept, kNoNode)})}, 0);
        NodeId start = build(sentence, end, true, true);
        if (skip != kNoNode) start = split({start, call(skip, add(Node{NodeKind::kGap, start}), kNoNode)}, 0);
        const auto id = static_cast<std::uint32_t>(graph_.sentences.size());
        graph_.sentences.push_back(Sentence{static_cast<std::uint32_t>(graph_.blocks.size() - 1), sentence.at.line});
        starts.push_back(add(Node{NodeKind::kSentence, id, start}));
      }
    }
    graph_.root = split(starts);
    count_readings();
    classify_bytes();
    for (const auto& [key, at] : literals_) graph_.literals.push_back(Literal{key.first, key.second, at});
    std::sort(graph_.literals.begin(), graph_.literals.end(), [](const Literal& a, const Literal& b) {
      return std::pair(a.at.line, a.at.column) < std::pair(b.at.line, b.at.column);
    });
    return std::move(graph_);
  }

 private:
  [[noreturn]] void fail(GrammarPosition at, const std::string& message) const { fail_at(graph_.name, at, message); }

  // --- Checks, of what is used nowhere too. ---

  // A rule, or a list with an '{' before its name.
  using Name = std::string;

  void check_all() {
    for (const auto& [name, rule] : text_.rules) check_definition('<' + name, rule.expression, nullptr, rule.at);
    for (const auto& [name, list] : text_.lists) check_definition('{' + name, {}, &list, list.at);
    if (text_.has_skip) {
      for (const GrammarExpression& phrase : text_.skip.expression.items) {
        check(phrase);
        if (may_be_empty(phrase)) fail(phrase.at, "the phrase to skip can be empty: all of it is optional");
      }
    }
    for (const GrammarIntent& block : text_.intents) {
      for (const GrammarExpression& sentence : block.sentences) {
        check(sentence);
        if (may_be_empty(sentence)) fail(sentence.at, "the sentence can be empty: all of it is optional");
      }
    }
  }

  void check_definition(const Name& name, const GrammarExpression& expression, const GrammarList* list,
                        GrammarPosition reference) {
    if (checked_.count(name) > 0) return;
    const auto open = std::find(open_.begin(), open_.end(), name);
    if (open != open_.end()) {
      std::string loop;
      for (auto step = open; step != open_.end(); ++step) loop += shown(*step) + " -> ";
      fail(reference, "a loop: " + loop + shown(name));
    }
    if (open_.size() >= kMaxReferenceDepth) {
      fail(reference, "rules refer to each other deeper than " + std::to_string(kMaxReferenceDepth));
    }
    open_.push_back(name);
    if (list == nullptr) {
      check(expression);
      empty_[name] = may_be_empty(expression);
    } else {
      for (const GrammarValue& value : list->values) {
        check(value.expression);
        if (may_be_empty(value.expression)) fail(value.expression.at, "the value can be empty: all of it is optional");
      }
      empty_[name] = false;
    }
    open_.pop_back();
    checked_.insert(name);
  }

  static std::string shown(const Name& name) { return name + (name[0] == '<' ? '>' : '}'); }

  void check(const GrammarExpression& expression) {
    if (expression.kind == Kind::kRule) {
      const auto rule = text_.rules.find(expression.text);
      if (rule == text_.rules.end()) {
        fail(expression.at, "there is no rule \"" + expression.text + '"' + hint(expression.text, text_.lists, "list"));
      }
      check_definition('<' + expression.text, rule->second.expression, nullptr, expression.at);
    } else if (expression.kind == Kind::kList) {
      const auto list = text_.lists.find(expression.text);
      if (list == text_.lists.end()) {
        fail(expression.at,
             "there is no list or range \"" + expression.text + '"' + hint(expression.text, text_.rules, "rule"));
      }
      check_definition('{' + expression.text, {}, &list->second, expression.at);
    }
    for (const GrammarExpression& item : expression.items) check(item);
  }

  template <class Map>
  static std::string hint(const std::string& name, const Map& others, const char* kind) {
    return others.count(name) > 0 ? std::string(", but a ") + kind + " of that name" : "";
  }

  // Only of what has been checked.
  bool may_be_empty(const GrammarExpression& expression) const {
    const auto empty = [this](const GrammarExpression& item) { return may_be_empty(item); };
    switch (expression.kind) {
      case Kind::kText: return false;
      case Kind::kGap: return true;
      case Kind::kAlternatives: return std::any_of(expression.items.begin(), expression.items.end(), empty);
      case Kind::kRule: return empty_.at('<' + expression.text);
      case Kind::kList: return false;
      case Kind::kSequence:
      case Kind::kPermutation: break;
    }
    return std::all_of(expression.items.begin(), expression.items.end(), empty);
  }

  // --- Nodes. ---

  void require_room() const {
    const auto limit = static_cast<std::size_t>(graph_.limits.max_nodes);
    if (graph_.nodes.size() >= limit || graph_.targets.size() + graph_.edges.size() >= 4 * limit ||
        num_steps_ >= 8 * limit) {
      throw ConfigError(graph_.name + ": the grammar is too large: its graph needs more than max_nodes, " +
                        std::to_string(limit) + ", nodes");
    }
  }

  NodeId add_new(Node node, std::uint32_t leaves) {
    require_room();
    graph_.nodes.push_back(node);
    graph_.leaves.push_back(leaves);
    return static_cast<NodeId>(graph_.nodes.size() - 1);
  }

  // The node that `make` makes, or an equal one; `equal` tells whether a node is.
  template <class Equal, class Make>
  NodeId interned(std::uint64_t hash, Equal&& equal, Make&& make) {
    std::size_t slot = hash & (made_.size() - 1);
    while (made_[slot].node != kNoNode) {
      if (made_[slot].hash == hash && equal(made_[slot].node)) return made_[slot].node;
      slot = (slot + 1) & (made_.size() - 1);
    }
    const NodeId node = make();
    made_[slot] = Made{hash, node};
    if (2 * ++num_made_ > made_.size()) {
      std::vector<Made> larger(2 * made_.size());
      for (const Made& made : made_) {
        if (made.node == kNoNode) continue;
        slot = made.hash & (larger.size() - 1);
        while (larger[slot].node != kNoNode) slot = (slot + 1) & (larger.size() - 1);
        larger[slot] = made;
      }
      made_.swap(larger);
    }
    return node;
  }

  NodeId add(Node node) {
    const std::uint64_t hash = mix(mix(mix(static_cast<std::uint64_t>(node.kind), node.a), node.b), node.c);
    const auto equal = [&](NodeId id) {
      const Node& other = graph_.nodes[id];
      return other.kind == node.kind && other.a == node.a && other.b == node.b && other.c == node.c;
    };
    return interned(hash, equal, [&] { return add_new(node, 1); });
  }

  NodeId literal(std::uint8_t byte, NodeId next) {
    const auto equal = [&](NodeId id) {
      const Node& other = graph_.nodes[id];
      return other.kind == NodeKind::kBranch && graph_.edges[other.a].byte == byte &&
             graph_.edges[other.a].target == next;
    };
    return interned(mix(byte, next), equal, [&] {
      graph_.edges.push_back(Edge{byte, next});
      return add_new(Node{NodeKind::kBranch, static_cast<std::uint32_t>(graph_.edges.size() - 1), 1}, 1);
    });
  }

  NodeId split(const std::vector<NodeId>& wanted, std::uint32_t mark = kNoNode) {
    std::vector<NodeId> targets;
    std::unordered_set<NodeId> seen;
    std::uint64_t hash = mix(mark, wanted.size());
    for (const NodeId target : wanted) {
      if (!seen.insert(target).second) continue;
      targets.push_back(target);
      hash = mix(hash, target);
    }
    if (targets.size() == 1) return targets[0];
    const auto equal = [&](NodeId id) {
      const Node& other = graph_.nodes[id];
      return other.kind == NodeKind::kSplit && other.b == targets.size() && other.c == mark &&
             std::equal(targets.begin(), targets.end(), graph_.targets.begin() + static_cast<std::ptrdiff_t>(other.a));
    };
    return interned(hash, equal, [&] {
      const auto begin = static_cast<std::uint32_t>(graph_.targets.size());
      graph_.targets.insert(graph_.targets.end(), targets.begin(), targets.end());
      return add_new(Node{NodeKind::kSplit, begin, static_cast<std::uint32_t>(targets.size()), mark}, 1);
    });
  }

  NodeId call(NodeId callee, NodeId next, std::uint32_t slot) { return add(Node{NodeKind::kCall, callee, next, slot}); }

  // Between words; a phrase to skip may stand there.
  NodeId gap(NodeId next) {
    if (gaps_.count(next) > 0) return next;
    NodeId node = add(Node{NodeKind::kGap, next});
    if (skip_ != kNoNode) node = split({node, add(Node{NodeKind::kGap, call(skip_, node, kNoNode)})}, 0);
    gaps_.insert(node);
    return node;
  }

  // --- Trees to nodes. ---

  // `left` and `right`: whether a word can only begin, and end, here.
  NodeId build(const GrammarExpression& expression, NodeId next, bool left, bool right) {
    ++num_steps_;
    require_room();
    switch (expression.kind) {
      case Kind::kText: {
        literals_.try_emplace({expression.text, left && right}, expression.at);
        for (std::size_t i = expression.text.size(); i > 0; --i) {
          next = literal(static_cast<std::uint8_t>(expression.text[i - 1]), next);
        }
        return next;
      }
      case Kind::kGap: return gap(next);
      case Kind::kSequence: {
        const std::vector<GrammarExpression>& items = expression.items;
        for (std::size_t i = items.size(); i > 0; --i) {
          const bool begins = i == 1 ? left : items[i - 2].kind == Kind::kGap;
          const bool ends = i == items.size() ? right : items[i].kind == Kind::kGap;
          next = build(items[i - 1], next, begins, ends);
        }
        return next;
      }
      case Kind::kAlternatives: {
        std::vector<NodeId> starts;
        starts.reserve(expression.items.size());
        for (const GrammarExpression& item : expression.items) starts.push_back(build(item, next, left, right));
        return split(starts);
      }
      case Kind::kPermutation: return build_permutation(expression.items, next);
      case Kind::kRule: return call(rule(expression.text), next, kNoNode);
      case Kind::kList: return call(list(expression.text), next, slot(expression.slot));
    }
    return next;
  }

  // The graph goes through the sets of items that are still to come.
  NodeId build_permutation(const std::vector<GrammarExpression>& items, NodeId next) {
    const std::size_t num_sets = std::size_t{1} << items.size();
    std::vector<NodeId> starts(num_sets);
    starts[0] = gap(next);
    for (std::size_t set = 1; set < num_sets; ++set) {
      std::vector<NodeId> ways;
      for (std::size_t i = 0; i < items.size(); ++i) {
        const std::size_t item = std::size_t{1} << i;
        if ((set & item) != 0) ways.push_back(gap(build(items[i], starts[set & ~item], true, true)));
      }
      starts[set] = split(ways);
    }
    return starts[num_sets - 1];
  }

  // A rule is compiled twice if it is used in a value too, because phrases to skip do not stand within values.
  NodeId rule(const std::string& name) {
    const auto key = std::pair(name, skip_ != kNoNode);
    const auto found = rules_.find(key);
    if (found != rules_.end()) return found->second;
    const NodeId start = build(text_.rules.at(name).expression, return_, false, false);
    rules_.emplace(key, start);
    return start;
  }

  NodeId list(const std::string& name) {
    const auto found = lists_.find(name);
    if (found != lists_.end()) return found->second;
    const NodeId skip = std::exchange(skip_, kNoNode);
    const GrammarList& list = text_.lists.at(name);
    std::vector<std::pair<std::string, std::uint32_t>> plain;
    std::vector<NodeId> starts = {kNoNode};
    if (list.is_range) {
      say_range(list, plain);
    } else {
      for (const GrammarValue& value : list.values) {
        const std::uint32_t id = add_value(Value{value.out, value.has_out, false});
        std::vector<std::string> texts = {""};
        if (spell_out(value.expression, texts)) {
          for (const std::string& marked : texts) {
            plain.emplace_back(joined_words(marked), id);
            add_words(plain.back().first, value.expression.at);
          }
        } else {
          starts.push_back(build(value.expression, add(Node{NodeKind::kValue, id, return_}), true, true));
        }
      }
    }
    if (plain.empty()) {
      starts.erase(starts.begin());
    } else {
      starts[0] = build_trie(plain);
    }
    const NodeId start = split(starts);
    lists_.emplace(name, start);
    skip_ = skip;
    return start;
  }

  std::uint32_t add_value(Value value) {
    graph_.values.push_back(std::move(value));
    return static_cast<std::uint32_t>(graph_.values.size() - 1);
  }

  void say_range(const GrammarList& list, std::vector<std::pair<std::string, std::uint32_t>>& plain) {
    const GrammarRange& range = list.range;
    for (std::int64_t number = range.from; number <= range.to; number += range.step) {
      const std::uint32_t id = add_value(Value{write_number(number * range.times / kThousandths), true, true});
      for (const std::string& way : say_number(number)) {
        plain.emplace_back(graph_.letters == LetterCase::kUpper ? normalise_text(way, LetterCase::kUpper) : way, id);
        add_words(plain.back().first, list.at);
      }
    }
  }

  void add_words(const std::string& words, GrammarPosition at) {
    for (std::size_t begin = 0; begin < words.size();) {
      const std::size_t end = std::min(words.find(' ', begin), words.size());
      literals_.try_emplace({words.substr(begin, end - begin), true}, at);
      begin = end + 1;
    }
  }

  // Appends all that the template says to each of the texts, with a mark where a word ends. False when that is too
  // much.
  bool spell_out(const GrammarExpression& expression, std::vector<std::string>& texts) const {
    switch (expression.kind) {
      case Kind::kText:
      case Kind::kGap: {
        for (std::string& text : texts) text += expression.kind == Kind::kGap ? kEndOfWord : expression.text;
        return true;
      }
      case Kind::kSequence: {
        const auto append = [&](const GrammarExpression& item) { return spell_out(item, texts); };
        return std::all_of(expression.items.begin(), expression.items.end(), append);
      }
      case Kind::kAlternatives: {
        std::vector<std::string> all;
        for (const GrammarExpression& item : expression.items) {
          std::vector<std::string> more = texts;
          if (!spell_out(item, more) || all.size() + more.size() > kMaxTexts) return false;
          all.insert(all.end(), more.begin(), more.end());
        }
        texts.swap(all);
        return true;
      }
      case Kind::kRule: return spell_out(text_.rules.at(expression.text).expression, texts);
      case Kind::kPermutation:
      case Kind::kList: break;
    }
    return false;
  }

  static std::string joined_words(const std::string& marked) {
    std::string words;
    bool gap = false;
    for (const char c : marked) {
      if (c == kEndOfWord[0]) {
        gap = true;
        continue;
      }
      if (gap && !words.empty()) words.push_back(' ');
      gap = false;
      words.push_back(c);
    }
    return words;
  }

  // A branch that is not closed yet.
  struct Open {
    std::vector<Edge> edges;
    NodeId out = kNoNode;
    std::uint32_t leaves = 0;
  };

  // Of equal values the first stays.
  NodeId build_trie(std::vector<std::pair<std::string, std::uint32_t>>& values) {
    std::stable_sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Open> path(1);
    std::string last;
    const auto close_to = [&](std::size_t depth) {
      while (path.size() - 1 > depth) {
        const Open open = std::move(path.back());
        path.pop_back();
        const NodeId node = add_branch(open);
        path.back().edges.push_back(Edge{static_cast<std::uint8_t>(last[path.size() - 1]), node});
        path.back().leaves += open.leaves;
      }
    };
    for (const auto& [words, value] : values) {
      if (words == last) continue;
      std::size_t common = 0;
      while (common < std::min(words.size(), last.size()) && words[common] == last[common]) ++common;
      close_to(common);
      last = words;
      path.resize(words.size() + 1);
      path.back().out = add(Node{NodeKind::kValue, value, return_});
      path.back().leaves = 1;
    }
    close_to(0);
    return add_branch(path[0]);
  }

  NodeId add_branch(const Open& open) {
    const auto begin = static_cast<std::uint32_t>(graph_.edges.size());
    graph_.edges.insert(graph_.edges.end(), open.edges.begin(), open.edges.end());
    return add_new(Node{NodeKind::kBranch, begin, static_cast<std::uint32_t>(open.edges.size()), open.out},
                   open.leaves);
  }

  std::uint32_t slot(const std::string& name) {
    const auto [found, added] = slots_.try_emplace(name, static_cast<std::uint32_t>(graph_.slots.size()));
    if (added) graph_.slots.push_back(name);
    return found->second;
  }

  // --- What is known once all nodes are there. ---

  // Nodes are made after those that follow them.
  void count_readings() {
    std::vector<double> readings(graph_.nodes.size(), 1.0);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      double count = 1.0;
      switch (node.kind) {
        case NodeKind::kBranch: {
          count = node.c == kNoNode ? 0.0 : readings[node.c];
          for (std::uint32_t k = 0; k < node.b; ++k) count += readings[graph_.edges[node.a + k].target];
          break;
        }
        case NodeKind::kSplit: {
          count = 0.0;
          for (std::uint32_t k = 0; k < node.b; ++k) count += readings[graph_.targets[node.a + k]];
          break;
        }
        case NodeKind::kGap: count = readings[node.a]; break;
        case NodeKind::kCall: count = readings[node.a] * readings[node.b]; break;
        case NodeKind::kValue:
        case NodeKind::kSentence: count = readings[node.b]; break;
        case NodeKind::kReturn:
        case NodeKind::kAccept: break;
      }
      readings[i] = count;
    }
    graph_.num_readings = readings[graph_.root];
  }

  void classify_bytes() {
    graph_.num_classes = 1;
    const auto add_class = [this](std::uint8_t byte) {
      std::uint8_t& found = graph_.byte_class[byte];
      // Not all 256 bytes occur in UTF-8, so the classes fit a byte.
      if (found == 0) found = static_cast<std::uint8_t>(graph_.num_classes++);
    };
    add_class(' ');
    for (const Edge& edge : graph_.edges) add_class(edge.byte);
  }

  const GrammarText& text_;
  Graph graph_;
  std::size_t num_steps_ = 0;
  NodeId return_ = kNoNode;
  NodeId skip_ = kNoNode;

  std::set<Name> checked_;
  std::vector<Name> open_;
  std::map<Name, bool> empty_;

  // The nodes that equal ones are not made of again, by their hash.
  struct Made {
    std::uint64_t hash = 0;
    NodeId node = kNoNode;
  };
  std::vector<Made> made_ = std::vector<Made>(1024);
  std::size_t num_made_ = 0;
  std::unordered_set<NodeId> gaps_;
  std::map<std::pair<std::string, bool>, NodeId> rules_;
  std::map<std::string, NodeId> lists_;
  std::map<std::string, std::uint32_t> slots_;
  std::map<std::pair<std::string, bool>, GrammarPosition> literals_;
};

// The deterministic automaton. A state is a set of places that wait for a byte, in increasing order; a place is a
// branch of the graph, a stack of return addresses, and a mode. What is there already is read without a lock.
class Grammar::Automaton {
 public:
  explicit Automaton(const Graph& graph)
      : graph_(graph),
        max_states_(static_cast<std::size_t>(graph.limits.max_states)),
        rows_(max_states_ / kChunk + 1),
        table_(std::size_t{1} << 10U, kNone) {
    for (auto& chunk : rows_) chunk.store(nullptr, std::memory_order_relaxed);
    Set places;
    std::unordered_set<std::uint64_t> seen;
    close(graph_.root, 0, kWordStart, seen, places);
    intern(places);
  }

  State advance(State state, char byte) {
    const std::uint8_t column = graph_.byte_class[static_cast<std::uint8_t>(byte)];
    if (column == 0) return kNone;
    std::atomic<State>& cell = row(state)[column];
    const State known = cell.load(std::memory_order_acquire);
    if (known != kUnknown) return known;
    const std::lock_guard<std::mutex> lock(mutex_);
    State next = cell.load(std::memory_order_relaxed);
    if (next == kUnknown) {
      next = make(state, static_cast<std::uint8_t>(byte));
      cell.store(next, std::memory_order_release);
    }
    return next;
  }

  bool is_final(State state) const { return row(state)[0].load(std::memory_order_relaxed) != 0; }

  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  using Set = std::vector<std::uint64_t>;
  using Row = std::atomic<State>;

  static constexpr State kUnknown = kNone - 1;
  static constexpr std::size_t kChunk = 128;
  static constexpr std::uint64_t kFinal = ~std::uint64_t{0};  // in place of a place: the text may end
  static constexpr std::size_t kPlacesPerState = 32;

  static std::uint64_t pack(NodeId node, std::uint32_t stack, Mode mode) {
    return std::uint64_t{stack} << 32U | std::uint64_t{node} << 2U | mode;
  }

  // A state's row: whether it is final, then where each class of bytes leads.
  Row* row(State state) const {
    return rows_[state / kChunk].load(std::memory_order_acquire) + state % kChunk * graph_.num_classes;
  }

  State make(State state, std::uint8_t byte) {
    Set places;
    std::unordered_set<std::uint64_t> seen;
    for (std::size_t i = begins_[state]; i < begins_[state + 1]; ++i) {
      const std::uint64_t place = places_[i];
      if (place == kFinal) continue;
      const auto mode = static_cast<Mode>(place & 3U);
      const auto node = static_cast<NodeId>((place & 0xFFFFFFFFU) >> 2U);
      const auto stack = static_cast<std::uint32_t>(place >> 32U);
      if (mode == kPending) {
        if (byte == ' ') places.push_back(pack(node, stack, kWordStart));
        continue;
      }
      const NodeId target = graph_.follow(graph_.nodes[node], byte);
      if (target != kNoNode) close(target, stack, byte == ' ' ? kWordStart : kInWord, seen, places);
    }
    if (places.empty()) return kNone;
    return intern(places);
  }

  // Adds the places that wait for a byte, reached from here without one.
  void close(NodeId start, std::uint32_t start_stack, Mode start_mode, std::unordered_set<std::uint64_t>& seen,
             Set& places) {
    work_.assign(1, pack(start, start_stack, start_mode));
    while (!work_.empty()) {
      const std::uint64_t place = work_.back();
      work_.pop_back();
      if (!seen.insert(place).second) continue;
      if (seen.size() > kMaxPlaces) {
        throw ConfigError(graph_.name + ": the grammar is too ambiguous: a text can be at more than " +
                          std::to_string(kMaxPlaces) + " places of it at once");
      }
      const auto mode = static_cast<Mode>(place & 3U);
      const auto id = static_cast<NodeId>((place & 0xFFFFFFFFU) >> 2U);
      const auto stack = static_cast<std::uint32_t>(place >> 32U);
      const Node& node = graph_.nodes[id];
      switch (node.kind) {
        case NodeKind::kBranch: {
          if (node.b > 0) places.push_back(place);
          if (node.c != kNoNode) work_.push_back(pack(node.c, stack, mode));
          break;
        }
        case NodeKind::kSplit: {
          for (std::uint32_t i = 0; i < node.b; ++i) work_.push_back(pack(graph_.targets[node.a + i], stack, mode));
          break;
        }
        case NodeKind::kGap: {
          work_.push_back(pack(node.a, stack, mode == kInWord ? kPending : mode));
          break;
        }
        case NodeKind::kCall: {
          // What would return only to return again can go back all the way at once.
          const bool tail = graph_.nodes[node.b].kind == NodeKind::kReturn;
          work_.push_back(pack(node.a, tail ? stack : stacks_.push(node.b, stack), mode));
          break;
        }
        case NodeKind::kValue:
        case NodeKind::kSentence: {
          work_.push_back(pack(node.b, stack, mode));
          break;
        }
        case NodeKind::kReturn: {
          work_.push_back(pack(stacks_.top(stack), stacks_.below(stack), mode));
          break;
        }
        case NodeKind::kAccept: {
          places.push_back(kFinal);
          break;
        }
      }
    }
  }

  State intern(Set& places) {
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    std::uint64_t hash = places.size();
    for (const std::uint64_t place : places) hash = mix(hash, place);
    std::size_t slot = hash & (table_.size() - 1);
    while (table_[slot] != kNone) {
      if (equals(table_[slot], places)) return table_[slot];
      slot = (slot + 1) & (table_.size() - 1);
    }
    const std::size_t id = begins_.size() - 1;
    if (id >= max_states_ || places_.size() + places.size() > kPlacesPerState * max_states_ + kMaxPlaces ||
        stacks_.size() > kPlacesPerState * max_states_) {
      throw ConfigError(graph_.name + ": the grammar is too large to be searched: its automaton needs more than " +
                        "max_states, " + std::to_string(max_states_) + ", states");
    }
    if (id % kChunk == 0) add_chunk(id / kChunk);
    const auto state = static_cast<State>(id);
    row(state)[0].store(places.back() == kFinal ? 1 : 0, std::memory_order_relaxed);
    places_.insert(places_.end(), places.begin(), places.end());
    begins_.push_back(places_.size());
    table_[slot] = state;
    size_.store(id + 1, std::memory_order_relaxed);
    if (2 * (id + 1) > table_.size()) grow_table();
    return state;
  }

  bool equals(State state, const Set& places) const {
    return std::equal(places.begin(), places.end(), places_.begin() + static_cast<std::ptrdiff_t>(begins_[state]),
                      places_.begin() + static_cast<std::ptrdiff_t>(begins_[state + 1]));
  }

  void add_chunk(std::size_t index) {
    const std::size_t cells = kChunk * graph_.num_classes;
    chunks_.push_back(std::make_unique<Row[]>(cells));
    for (std::size_t i = 0; i < cells; ++i) chunks_.back()[i].store(kUnknown, std::memory_order_relaxed);
    rows_[index].store(chunks_.back().get(), std::memory_order_release);
  }

  void grow_table() {
    table_.assign(2 * table_.size(), kNone);
    for (std::size_t id = 0; id + 1 < begins_.size(); ++id) {
      std::uint64_t hash = begins_[id + 1] - begins_[id];
      for (std::size_t i = begins_[id]; i < begins_[id + 1]; ++i) hash = mix(hash, places_[i]);
      std::size_t slot = hash & (table_.size() - 1);
      while (table_[slot] != kNone) slot = (slot + 1) & (table_.size() - 1);
      table_[slot] = static_cast<State>(id);
    }
  }

  const Graph& graph_;
  std::size_t max_states_;
  std::vector<std::atomic<Row*>> rows_;
  std::atomic<std::size_t> size_{0};

  // What follows is used under the lock only.
  std::mutex mutex_;
  std::vector<std::unique_ptr<Row[]>> chunks_;
  Stacks stacks_;
  Set places_;                             // of all states, one after the other
  std::vector<std::size_t> begins_ = {0};  // where each one's begin there, and where the last one's end
  std::vector<State> table_;               // of all states, by the hash of their places
  std::vector<std::uint64_t> work_;
};

Grammar::Grammar(std::shared_ptr<const Graph> graph)
    : graph_(std::move(graph)), automaton_(std::make_unique<Automaton>(*graph_)) {}

Grammar::~Grammar() = default;

std::shared_ptr<const Grammar> Grammar::compile(const std::string& text, const std::string& name, LetterCase letters,
                                                const GrammarLimits& limits) {
  validate(limits);
  const GrammarText read = read_grammar(text, name, letters, limits);
  auto graph = std::make_shared<const Graph>(Compiler(read, name, letters, limits).compile());
  return std::shared_ptr<const Grammar>(new Grammar(std::move(graph)));
}

std::shared_ptr<const Grammar> Grammar::renewed() const { return std::shared_ptr<const Grammar>(new Grammar(graph_)); }

TextAcceptor::State Grammar::start() const { return 0; }

TextAcceptor::State Grammar::advance(State state, char byte) const { return automaton_->advance(state, byte); }

bool Grammar::is_final(State state) const { return automaton_->is_final(state); }

const std::vector<std::string>& Grammar::intents() const { return graph_->intents; }
std::size_t Grammar::num_sentences() const { return graph_->sentences.size(); }
std::size_t Grammar::num_nodes() const { return graph_->nodes.size(); }
double Grammar::num_readings() const { return graph_->num_readings; }
std::size_t Grammar::num_states() const { return automaton_->size(); }
std::size_t Grammar::max_states() const { return static_cast<std::size_t>(graph_->limits.max_states); }

bool Grammar::accepts(const std::string& text) const {
  State state = start();
  for (const char byte : normalise_text(text, graph_->letters)) {
    state = advance(state, byte);
    if (state == kNone) return false;
  }
  return is_final(state);
}

namespace {

// A step of a parse, and the step before it.
struct Step {
  NodeId node;
  std::uint32_t stack;
  std::uint32_t position;
  Mode mode;
  std::int32_t before;
};

struct StepHash {
  std::size_t operator()(const std::array<std::uint64_t, 2>& key) const {
    return static_cast<std::size_t>(mix(mix(0, key[0]), key[1]));
  }
};

}  // namespace

// Depth first, what is preferred first; a place that has been tried at a position leads nowhere the second time either.
bool Grammar::parse(const std::string& text, GrammarParse& found) const {
  if (text.size() > max_parse_bytes()) {
    throw InputError("the text has " + std::to_string(text.size()) + " bytes, expected at most " +
                     std::to_string(max_parse_bytes()));
  }
  const Graph& graph = *graph_;
  const std::string words = normalise_text(text, graph.letters);
  Stacks stacks;
  std::vector<Step> tried;
  std::unordered_set<std::array<std::uint64_t, 2>, StepHash> seen;
  std::vector<Step> work = {Step{graph.root, 0, 0, kWordStart, -1}};
  std::int32_t last = -1;
  // Most ways end at the first byte: those are not even tried.
  const auto leads_on = [&](NodeId id, std::size_t position, Mode mode) {
    const Node& node = graph.nodes[id];
    if (node.kind != NodeKind::kBranch || node.c != kNoNode) return true;
    if (mode == kPending && position < words.size()) {
      if (words[position] != ' ') return false;
      ++position;
    }
    return position < words.size() && graph.follow(node, static_cast<std::uint8_t>(words[position])) != kNoNode;
  };
  while (!work.empty() && last < 0) {
    Step step = work.back();
    work.pop_back();
    if (!seen.insert({std::uint64_t{step.stack} << 32U | step.node, std::uint64_t{step.position} << 2U | step.mode})
             .second) {
      continue;
    }
    if (tried.size() >= kMaxParseSteps) throw InputError("the text can be read in too many ways by " + graph.name);
    tried.push_back(step);
    const Node& node = graph.nodes[step.node];
    step.before = static_cast<std::int32_t>(tried.size()) - 1;
    const auto go_on = [&](NodeId next) {
      step.node = next;
      if (leads_on(next, step.position, step.mode)) work.push_back(step);
    };
    switch (node.kind) {
      case NodeKind::kBranch: {
        if (node.c != kNoNode) go_on(node.c);
        if (step.mode == kPending && step.position < words.size() && words[step.position] == ' ') {
          step.mode = kWordStart;
          ++step.position;
        }
        if (step.mode == kPending || step.position == words.size()) break;
        const auto byte = static_cast<std::uint8_t>(words[step.position]);
        const NodeId target = graph.follow(node, byte);
        if (target == kNoNode) break;
        step.mode = byte == ' ' ? kWordStart : kInWord;
        ++step.position;
        go_on(target);
        break;
      }
      case NodeKind::kSplit: {
        for (std::uint32_t i = node.b; i > 0; --i) go_on(graph.targets[node.a + i - 1]);
        break;
      }
      case NodeKind::kGap: {
        if (step.mode == kInWord) step.mode = kPending;
        go_on(node.a);
        break;
      }
      case NodeKind::kCall: {
        step.stack = stacks.push(node.b, step.stack);
        go_on(node.a);
        break;
      }
      case NodeKind::kValue:
      case NodeKind::kSentence: {
        go_on(node.b);
        break;
      }
      case NodeKind::kReturn: {
        const NodeId back = stacks.top(step.stack);
        step.stack = stacks.below(step.stack);
        go_on(back);
        break;
      }
      case NodeKind::kAccept: {
        if (step.position == words.size()) last = step.before;
        break;
      }
    }
  }
  if (last < 0) return false;

  std::vector<std::int32_t> way;
  for (std::int32_t i = last; i >= 0; i = tried[static_cast<std::size_t>(i)].before) way.push_back(i);
  std::reverse(way.begin(), way.end());
  found = GrammarParse();
  std::vector<std::int32_t> open;  // calls: the slot's place in found.slots, or -1
  std::vector<std::uint32_t> begins;
  const Block* block = nullptr;
  const auto num_spaces = [&](std::size_t end) {
    return static_cast<std::int32_t>(std::count(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(end), ' '));
  };
  for (const std::int32_t i : way) {
    const Step& step = tried[static_cast<std::size_t>(i)];
    const Node& node = graph.nodes[step.node];
    if (node.kind == NodeKind::kSentence) {
      const Sentence& sentence = graph.sentences[node.a];
      block = &graph.blocks[sentence.block];
      found.intent = graph.intents[block->intent];
      found.line = sentence.line;
    } else if (node.kind == NodeKind::kCall) {
      open.push_back(-1);
      if (node.c != kNoNode) {
        open.back() = static_cast<std::int32_t>(found.slots.size());
        found.slots.emplace_back();
        found.slots.back().name = graph.slots[node.c];
        begins.push_back(step.position);
      }
    } else if (node.kind == NodeKind::kValue) {
      GrammarSlot& slot = found.slots[static_cast<std::size_t>(open.back())];
      const Value& value = graph.values[node.a];
      std::size_t begin = begins[static_cast<std::size_t>(open.back())];
      if (words[begin] == ' ') ++begin;
      slot.text = words.substr(begin, step.position - begin);
      slot.value = value.has_out ? value.out : slot.text;
      slot.is_number = value.is_number;
      slot.first_word = num_spaces(begin);
      slot.end_word = num_spaces(step.position) + 1;
    } else if (node.kind == NodeKind::kReturn) {
      open.pop_back();
    }
  }
  if (block == nullptr) return false;  // not reached: every way ends with a sentence
  for (const auto& [name, value] : block->slots) {
    const auto same = [&name = name](const GrammarSlot& slot) { return slot.name == name; };
    if (std::none_of(found.slots.begin(), found.slots.end(), same)) {
      found.slots.emplace_back();
      found.slots.back().name = name;
      found.slots.back().value = value;
    }
  }
  return true;
}

std::string Grammar::sample(std::uint64_t seed) const {
  const Graph& graph = *graph_;
  std::mt19937_64 random(seed);
  std::string words;
  std::vector<NodeId> returns;
  bool gap = false;
  for (NodeId id = graph.root;;) {
    const Node& node = graph.nodes[id];
    switch (node.kind) {
      case NodeKind::kBranch: {
        std::uint64_t pick = random() % graph.leaves[id];
        if (node.c != kNoNode && pick-- == 0) {
          id = node.c;
          break;
        }
        const Edge* edge = &graph.edges[node.a];
        if (node.b > 1) {
          while (pick >= graph.leaves[edge->target]) pick -= graph.leaves[edge++->target];
        }
        if (gap && !words.empty()) words.push_back(' ');
        gap = false;
        words.push_back(static_cast<char>(edge->byte));
        id = edge->target;
        break;
      }
      case NodeKind::kSplit: {
        std::uint64_t total = 0;
        if (node.c == 0) {
          id = graph.targets[node.a];
          break;
        }
        for (std::uint32_t i = 0; i < node.b; ++i) total += graph.leaves[graph.targets[node.a + i]];
        std::uint64_t pick = random() % total;
        std::uint32_t i = node.a;
        while (pick >= graph.leaves[graph.targets[i]]) pick -= graph.leaves[graph.targets[i++]];
        id = graph.targets[i];
        break;
      }
      case NodeKind::kGap: {
        gap = true;
        id = node.a;
        break;
      }
      case NodeKind::kCall: {
        returns.push_back(node.b);
        id = node.a;
        break;
      }
      case NodeKind::kValue:
      case NodeKind::kSentence: {
        id = node.b;
        break;
      }
      case NodeKind::kReturn: {
        id = returns.back();
        returns.pop_back();
        break;
      }
      case NodeKind::kAccept: return words;
    }
  }
}

void Grammar::check_spelling(const std::vector<std::string>& tokens) const {
  std::unordered_set<std::string> known;
  std::size_t longest = 0;
  std::string parts;  // all tokens: a character that is nowhere here can't be spelled at all
  for (const std::string& token : tokens) {
    if (token.empty()) continue;
    known.insert(token);
    longest = std::max(longest, token.size());
    parts.append(token).push_back('\0');
  }
  // Whether tokens make up the text, exactly.
  const auto spelled = [&](const std::string& text) {
    std::vector<bool> reached(text.size() + 1);
    reached[0] = true;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (!reached[i]) continue;
      for (std::size_t size = 1; size <= std::min(longest, text.size() - i); ++size) {
        if (known.count(text.substr(i, size)) > 0) reached[i + size] = true;
      }
    }
    return static_cast<bool>(reached[text.size()]);
  };
  // Of a piece of a word only its characters are looked at: what it is joined to may come in the same token.
  const auto possible = [&](const std::string& text) {
    for (std::size_t i = 0; i < text.size();) {
      std::size_t end = i + 1;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) ++end;
      if (parts.find(text.substr(i, end - i)) == std::string::npos) return false;
      i = end;
    }
    return true;
  };
  std::size_t num_bad = 0;
  const Literal* first = nullptr;
  for (const Literal& literal : graph_->literals) {
    if (spelled(literal.text) || spelled(' ' + literal.text) || (!literal.is_word && possible(literal.text))) continue;
    if (first == nullptr) first = &literal;
    ++num_bad;
  }
  if (first == nullptr) return;
  std::string message = "the tokens cannot spell \"" + first->text + '"';
  if (num_bad > 1) message += ", nor " + std::to_string(num_bad - 1) + " other words of the grammar";
  fail_at(graph_->name, first->at, message + ": write it as it is spoken, in the letters of the tokens");
}

}  // namespace edgeasr
