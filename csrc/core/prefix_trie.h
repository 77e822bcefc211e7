// The texts of a beam search as a trie in an arena: each sequence of symbols has exactly one node, nodes that no live
// hypothesis needs are used again, and nothing is allocated once the arena has grown to what the beam needs. A symbol
// is a byte of the text, or a token where what tokens spell is not known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgeasr {

class PrefixTrie {
 public:
  static constexpr std::int32_t kNone = -1;

  struct Node {
    std::int32_t parent;
    std::int32_t symbol;
    std::int32_t depth;  // number of symbols from the start of the stream
    std::int32_t birth;  // frame on which the node was made
    std::int32_t slot;   // where the beam keeps this text, or kNone when it only leads to longer ones
    std::int32_t first_child;
    std::int32_t next_sibling;
    std::int32_t previous_sibling;
  };

  // Only the empty prefix is left, as root, in slot 0.
  void clear() {
    nodes_.clear();
    free_head_ = kNone;
    num_live_ = 0;
    root_ = allocate(Node{kNone, kNone, 0, 0, 0, kNone, kNone, kNone});
  }

  const Node& operator[](std::int32_t index) const { return nodes_[static_cast<std::size_t>(index)]; }
  std::int32_t root() const { return root_; }
  std::size_t num_live() const { return num_live_; }
  std::size_t capacity() const { return nodes_.size(); }  // node numbers are smaller
  bool is_live(std::int32_t index) const { return (*this)[index].slot != kFree; }
  void set_slot(std::int32_t index, std::int32_t slot) { at(index).slot = slot; }

  // The node of `parent` followed by `symbol`, or kNone.
  std::int32_t find_child(std::int32_t parent, std::int32_t symbol) const {
    for (std::int32_t c = (*this)[parent].first_child; c != kNone; c = (*this)[c].next_sibling) {
      if ((*this)[c].symbol == symbol) return c;
    }
    return kNone;
  }

  // The same, made when it is not there.
  std::int32_t child(std::int32_t parent, std::int32_t symbol, std::int32_t frame) {
    const std::int32_t found = find_child(parent, symbol);
    if (found != kNone) return found;
    const std::int32_t next = at(parent).first_child;
    const std::int32_t made = allocate(Node{parent, symbol, at(parent).depth + 1, frame, kNone, kNone, next, kNone});
    if (next != kNone) at(next).previous_sibling = made;
    at(parent).first_child = made;
    return made;
  }

  // The child when there is exactly one, else kNone.
  std::int32_t only_child(std::int32_t index) const {
    const std::int32_t child = (*this)[index].first_child;
    return child != kNone && (*this)[child].next_sibling == kNone ? child : kNone;
  }

  // Gives back a node that is in no slot and has no children, and then each ancestor for which this becomes true.
  void release(std::int32_t index) {
    while (index != root_ && at(index).slot == kNone && at(index).first_child == kNone) {
      const Node node = at(index);
      if (node.next_sibling != kNone) at(node.next_sibling).previous_sibling = node.previous_sibling;
      if (node.previous_sibling != kNone) {
        at(node.previous_sibling).next_sibling = node.next_sibling;
      } else {
        at(node.parent).first_child = node.next_sibling;
      }
      deallocate(index);
      index = node.parent;
    }
  }

  // Moves the root to its only child, when every live prefix goes through that child; says whether it did.
  bool advance_root() {
    const std::int32_t child = only_child(root_);
    if (at(root_).slot != kNone || child == kNone) return false;
    deallocate(root_);
    root_ = child;
    at(root_).parent = kNone;
    return true;
  }

 private:
  static constexpr std::int32_t kFree = -2;  // as a slot: so that releasing twice does nothing

  Node& at(std::int32_t index) { return nodes_[static_cast<std::size_t>(index)]; }

  std::int32_t allocate(const Node& node) {
    ++num_live_;
    if (free_head_ != kNone) {
      const std::int32_t index = free_head_;
      free_head_ = at(index).parent;
      at(index) = node;
      return index;
    }
    nodes_.push_back(node);
    return static_cast<std::int32_t>(nodes_.size()) - 1;
  }

  // Free nodes are chained through `parent`.
  void deallocate(std::int32_t index) {
    --num_live_;
    at(index).slot = kFree;
    at(index).parent = free_head_;
    free_head_ = index;
  }

  std::vector<Node> nodes_;
  std::int32_t free_head_ = kNone;
  std::int32_t root_ = kNone;
  std::size_t num_live_ = 0;
};

}  // namespace edgeasr
