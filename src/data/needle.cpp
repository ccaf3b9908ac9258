// `needle`: a key of several tokens in a haystack, which is to be copied: the passkey retrieval of
// Mohtashami and Jaggi 2023 (arXiv 2305.16300) over plain tokens. Token 1 marks the key k_1 .. k_L,
// whose tokens are any from 2 on, drawn each for itself; around it lies filler. The sequence ends
// with the marker once more and k_1 .. k_{L-1}: each of these L last places is asked for the key's
// next token, so that every token of the key counts once.
#include <fmt/format.h>

#include <cmath>

#include "config/part.h"
#include "core/error.h"
#include "data/generated.h"

namespace tandem {
namespace {

constexpr std::int16_t kNeedleMarker = 1;
constexpr std::int64_t kFirstOfKey = 2;

struct NeedleRule {
  std::int64_t vocabulary = 0, tokens = 0, length = 0;
  double depth = 0;  // of the marker along the way to where it may stand last; below 0: anywhere
  SequenceFiller filler = SequenceFiller::kUnbound;

  std::int64_t needed() const { return 2 * length + 1; }
};

class NeedleWriter : public SequenceWriter {
 public:
  explicit NeedleWriter(const NeedleRule& rule) : rule_(rule) {}

  void write(const SequenceRow& row) override {
    SequenceDraws draws(row.key);
    const std::int64_t room = rule_.tokens - rule_.needed();
    const std::int64_t begin = rule_.depth < 0
                                   ? draws.below(room + 1)
                                   : std::llround(rule_.depth * static_cast<double>(room));
    const std::int64_t ask = rule_.tokens - rule_.length;
    for (std::int64_t i = 0; i < rule_.length; ++i) {
      const auto own =
          static_cast<std::int16_t>(kFirstOfKey + draws.below(rule_.vocabulary - kFirstOfKey));
      row.answers[i] = row.x[begin + 1 + i] = own;
      row.sources[i] = static_cast<std::int16_t>(begin + 1 + i);
      row.asked[i] = static_cast<std::int16_t>(ask + i);
      if (i + 1 < rule_.length) row.x[ask + 1 + i] = own;
    }
    row.x[begin] = row.x[ask] = kNeedleMarker;
    for (std::int64_t t = 0; t < begin; ++t) row.x[t] = filler(draws);
    for (std::int64_t t = begin + 1 + rule_.length; t < ask; ++t) row.x[t] = filler(draws);
  }

 private:
  std::int16_t filler(SequenceDraws& draws) const {
    if (rule_.filler == SequenceFiller::kNone) return 0;
    if (rule_.filler == SequenceFiller::kAny) {
      return static_cast<std::int16_t>(draws.below(rule_.vocabulary));
    }
    const std::int64_t drawn = draws.below(rule_.vocabulary - 1);
    return static_cast<std::int16_t>(drawn + (drawn >= kNeedleMarker ? 1 : 0));
  }

  NeedleRule rule_;
};

Dataset generate_needle(const Config& config) {
  const NeedleRule rule{config.integer("vocabulary"), config.integer("context"),
                        config.integer("key_length"), config.real("depth"),
                        sequence_filler(config)};
  if (rule.needed() > rule.tokens) {
    throw ConfigError(
        fmt::format("context = {} has no room for a key of key_length = {} tokens, its marker and "
                    "what asks for it: give a context of {} or more, or a shorter key",
                    rule.tokens, rule.length, rule.needed()));
  }
  return generate_sequences(config, {rule.tokens, rule.vocabulary, rule.length},
                            [&rule] { return std::make_unique<NeedleWriter>(rule); });
}

TANDEM_REGISTERED = declare_option(
    generated_count("key_length", "8", "tokens of the key that is to be copied, all of them asked",
                    1, 16383, "tokens"));

TANDEM_REGISTERED = register_generated(
    "needle", "generated: a key of several tokens at a depth of filler, to be copied at the end",
    "2305.16300", __FILE__, {"vocabulary", "key_length", "depth", "filler"}, 0, generate_needle);

}  // namespace
}  // namespace tandem
