// Sequences that ask what was bound to a key: associative recall. A binding is a key and, behind
// it, its value; a query is a key once more, and what should follow it is the value that it was
// bound to last. Keys are tokens 1 to V/2 - 1 and values V/2 to V - 1 of a vocabulary of V tokens.
// Compound keys are two tokens, one of each of the first two thirds of the vocabulary, and values
// are the last third. Where bindings are stacked, a token is a key and a value at once: of s^2
// tokens a s + b is key a, 1 to s - 1, with value b, 1 to s - 1; a query, a s, has no value, and an
// answer, b, no key.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "data/generated.h"

namespace tandem {

struct RecallRule {
  std::int64_t vocabulary = 64, tokens = 64;
  std::int64_t pairs = 4;    // keys of a sequence that may be asked, each bound
  std::int64_t updates = 0;  // of these keys that are then bound to another value
  // Each of these keys leads to its value over so many bindings: it is bound to another key, which
  // is bound further on, and the last one to the value. With updates or compound keys 1.
  std::int64_t hops = 1;
  // Keys are two tokens. The pairs, a square number, have all combinations of some first and as
  // many second tokens, so that neither tells the value.
  bool compound = false;
  bool stacked = false;  // a binding is one token
  std::int64_t passes =
      1;  // how often all bindings are shown, stacked ones alone; each in any order
  // Each key is asked once, behind the bindings: at distances s g from their end, s being the
  // tokens of a binding, where the g are drawn from 0 .. space - 1 without replacement with chances
  // (g + 1)^(gap_power - 1), the first key's first. Else one of the keys is asked, by the last
  // token, and the bindings lie `depth` of the way from the start to it (below 0: anywhere).
  bool asks_all = true;
  double gap_power = 0.01, depth = 0;
  SequenceFiller filler = SequenceFiller::kUnbound;

  std::int64_t key_tokens() const { return compound ? 2 : 1; }
  std::int64_t stride() const { return stacked ? 1 : key_tokens() + 1; }
  std::int64_t bindings() const { return pairs * hops * passes + updates; }
  std::int64_t queries() const { return asks_all ? pairs : 1; }
  // Places for queries, a stride apart.
  std::int64_t space() const { return (tokens - stride() * bindings()) / stride(); }
  // The first value, and of compound keys the first of the second tokens; keys begin at 1.
  std::int64_t first_value() const {
    return stacked ? 1 : compound ? 2 * (vocabulary / 3) : vocabulary / 2;
  }
  std::int64_t first_second() const { return vocabulary / 3; }
  std::int64_t values() const { return (stacked ? side() : vocabulary) - first_value(); }
  // Tokens that may be a key, or the first token of one.
  std::int64_t keys() const {
    return (stacked ? side() : compound ? first_second() : first_value()) - 1;
  }
  // Of stacked bindings s, a whole number where the vocabulary is right.
  std::int64_t side() const { return std::llround(std::sqrt(static_cast<double>(vocabulary))); }
};

class RecallWriter : public SequenceWriter {
 public:
  // The rule has room for its bindings and queries, and tokens for its keys and values.
  explicit RecallWriter(const RecallRule& rule);

  void write(const SequenceRow& row) override;

 private:
  struct Binding {
    std::int16_t key, second, value;  // second is below 0 where a key is one token
    std::size_t of;                   // the pair on whose way it lies
  };
  // Draws `count` of first .. first + n - 1 without replacement.
  void draw_distinct(SequenceDraws& draws, std::int64_t first, std::int64_t n, std::int64_t count,
                     std::vector<std::int16_t>& into);
  void draw_bindings(SequenceDraws& draws);
  void draw_compound(SequenceDraws& draws);
  void draw_chains(SequenceDraws& draws);
  void draw_updates(SequenceDraws& draws);
  void draw_passes(SequenceDraws& draws);
  void place_queries(SequenceDraws& draws, std::vector<std::int64_t>& places);
  void fill(SequenceDraws& draws, std::int16_t* x);
  // The token that asks for a pair, or the last of those that do.
  std::int16_t query_token(std::size_t pair) const;

  RecallRule rule_;
  std::vector<double> chances_, sums_;  // [space] of a query at each place, and up to it
  std::vector<std::int16_t> pool_;      // 0, 1, ... between draws
  // By pair: its key, what is bound to it in the end and where that stands; behind the keys those
  // that its way leads over.
  std::vector<std::int16_t> keys_, seconds_, values_, sources_;
  std::vector<char> is_key_, taken_;  // [V], [space]
  std::vector<std::size_t> swapped_;
  std::vector<Binding> bindings_;
  std::vector<std::int64_t> places_;
  std::vector<std::pair<std::int64_t, std::size_t>> queries_;  // place and pair
  std::vector<std::pair<double, std::int64_t>> arrivals_;
};

}  // namespace tandem
