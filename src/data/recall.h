// Sequences that ask what was bound to a key: associative recall. Keys are tokens 1 to V/2 - 1 and
// values V/2 to V - 1 of a vocabulary of V tokens; a binding is a key and, behind it, its value. A
// query is a key once more, and what should follow it is the value that it was bound to last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tandem {

enum class RecallFiller {
  kUnbound,  // any token but the sequence's own keys, so that only bindings bind
  kAny,      // any token, as in Zoology
  kNone,     // token 0
};

struct RecallRule {
  std::int64_t vocabulary = 64, tokens = 64;
  std::int64_t pairs = 4;    // keys of a sequence, each bound
  std::int64_t updates = 0;  // of these keys that are then bound to another value
  // Each key is asked once, behind the bindings: at distances 2g from their end, where the g are
  // drawn from 0 .. space - 1 without replacement with chances (g + 1)^(gap_power - 1), the first
  // key's first. Else one of the keys is asked, by the last token, and the bindings lie `depth` of
  // the way from the start to it (below 0: anywhere).
  bool asks_all = true;
  double gap_power = 0.01, depth = 0;
  RecallFiller filler = RecallFiller::kUnbound;

  std::int64_t bindings() const { return pairs + updates; }
  std::int64_t queries() const { return asks_all ? pairs : 1; }
  // Places for queries, two tokens apart.
  std::int64_t space() const { return (tokens - 2 * bindings()) / 2; }
};

// Writes sequences one after the other, each a function of the rule and of its own key alone.
class RecallWriter {
 public:
  // The rule has room for its bindings and queries, and tokens for its keys and values.
  explicit RecallWriter(const RecallRule& rule);

  // x [tokens]; asked and answers [queries], by place.
  void write(std::uint64_t key, std::int16_t* x, std::int16_t* asked, std::int16_t* answers);

 private:
  class Draws;
  // Draws `count` of first .. first + n - 1 without replacement.
  void draw_distinct(Draws& draws, std::int64_t first, std::int64_t n, std::int64_t count,
                     std::vector<std::int16_t>& into);
  void draw_bindings(Draws& draws);
  void place_queries(Draws& draws, std::vector<std::int64_t>& places);

  RecallRule rule_;
  std::vector<double> chances_, sums_;  // [space] of a query at each place, and up to it
  std::vector<std::int16_t> pool_;      // 0, 1, ... between draws
  std::vector<std::int16_t> keys_, values_;
  std::vector<char> is_key_, taken_;  // [V], [space]
  std::vector<std::size_t> swapped_;
  std::vector<std::pair<std::int16_t, std::int16_t>> bindings_;
  std::vector<std::int64_t> places_;
  std::vector<std::pair<double, std::int64_t>> arrivals_;
};

}  // namespace tandem
