// `listops` (Nangia and Bowman 2018, arXiv 1804.06028): nested lists of digits under operators,
// [MAX 2 9 [MIN 4 7 ] 0 ], whose value is a digit. The law is that of Long Range Arena (Tay et al.
// 2021, arXiv 2011.04006), of which the original's is another setting: an operator is any of four
// with the same chance and has 2 to `listops_arguments` arguments, each number equally likely; an
// argument is itself an operator with chance 1/4 where the tree may go deeper, and else a digit;
// and what is shorter or longer than asked for is drawn anew. Here the outermost is always an
// operator.
//
//   MAX, MIN   the largest and the smallest argument
//   MED        the median; of an even number the mean of the two in the middle, rounded down
//   SM         the sum modulo 10
//
// Tokens: 0 to 9 digits, 10 to 13 [MAX [MIN [MED [SM, 14 ], 15 asks for the value, right behind the
// expression, and 16 fills what is left behind that, where causal attention never looks from it.
//
// An expression belongs to a split by a hash of its tokens, an eighth of all that there are to
// validation and to test each, and one of another split is drawn anew: no expression is in two
// splits, whatever the seeds.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "config/part.h"
#include "core/error.h"
#include "data/generated.h"

namespace tandem {
namespace {

constexpr std::int16_t kListMax = 10, kListMin = 11, kListMedian = 12, kListCloses = 14,
                       kListAsks = 15, kListPadding = 16;
constexpr std::int64_t kListOperators = 4, kListTokens = 17, kListDigits = 10;
constexpr std::int64_t kListShares = 8;  // of validation and test one each
constexpr double kOperatorChance = 0.25;
// Expressions that are drawn before any is kept, and of these what each split must get: else most
// of the time would go by in drawing anew.
constexpr int kListTrials = 16384, kListLeast = 4;

struct ListRule {
  std::int64_t tokens = 0;
  std::int64_t depth = 0, arguments = 0;
  std::int64_t shortest = 0, longest = 0;  // tokens of an expression, brackets and all
};

GeneratedSplit split_of_expression(const std::vector<std::int16_t>& tokens) {
  std::uint64_t hash = 0xCBF29CE484222325ull;  // FNV-1a
  for (const std::int16_t each : tokens) {
    hash = (hash ^ static_cast<std::uint64_t>(each)) * 0x100000001B3ull;
  }
  const std::uint64_t share = mix64(hash) % static_cast<std::uint64_t>(kListShares);
  return share == 0   ? GeneratedSplit::kTest
         : share == 1 ? GeneratedSplit::kValidation
                      : GeneratedSplit::kTrain;
}

class Expression {
 public:
  explicit Expression(const ListRule& rule) : rule_(rule) {}

  // Draws one anew. Returns whether its length is as asked for.
  bool draw(SequenceDraws& draws) {
    tokens_.clear();
    value_ = draw_operator(draws, 1);
    return value_ >= 0 && static_cast<std::int64_t>(tokens_.size()) >= rule_.shortest;
  }
  const std::vector<std::int16_t>& tokens() const { return tokens_; }
  std::int64_t value() const { return value_; }

 private:
  bool too_long() const { return static_cast<std::int64_t>(tokens_.size()) > rule_.longest; }

  // Returns its value; -1 where the expression has become too long, and is given up.
  std::int64_t draw_operator(SequenceDraws& draws, std::int64_t level) {
    const std::int64_t kind = kListMax + draws.below(kListOperators);
    const std::int64_t count = 2 + draws.below(rule_.arguments - 1);
    tokens_.push_back(static_cast<std::int16_t>(kind));
    std::array<std::int64_t, kListDigits> times = {};
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t argument = 0;
      if (level + 1 < rule_.depth && draws.uniform() < kOperatorChance) {
        argument = draw_operator(draws, level + 1);
      } else {
        argument = draws.below(kListDigits);
        tokens_.push_back(static_cast<std::int16_t>(argument));
      }
      if (argument < 0 || too_long()) return -1;
      ++times[static_cast<std::size_t>(argument)];
    }
    tokens_.push_back(kListCloses);
    return too_long() ? -1 : value_of(kind, times, count);
  }

  // Of arguments that are there so many times each.
  static std::int64_t value_of(std::int64_t kind,
                               const std::array<std::int64_t, kListDigits>& times,
                               std::int64_t count) {
    const auto of_rank = [&](std::int64_t rank) {  // from 0
      std::int64_t digit = 0;
      while (rank >= times[static_cast<std::size_t>(digit)]) {
        rank -= times[static_cast<std::size_t>(digit++)];
      }
      return digit;
    };
    if (kind == kListMax) return of_rank(count - 1);
    if (kind == kListMin) return of_rank(0);
    if (kind == kListMedian) return (of_rank((count - 1) / 2) + of_rank(count / 2)) / 2;
    std::int64_t sum = 0;
    for (std::size_t digit = 0; digit < times.size(); ++digit) {
      sum += static_cast<std::int64_t>(digit) * times[digit];
    }
    return sum % kListDigits;
  }

  ListRule rule_;
  std::vector<std::int16_t> tokens_;
  std::int64_t value_ = 0;
};

class ListWriter : public SequenceWriter {
 public:
  explicit ListWriter(const ListRule& rule) : rule_(rule), expression_(rule) {}

  void write(const SequenceRow& row) override {
    SequenceDraws draws(row.key);
    while (!expression_.draw(draws) || split_of_expression(expression_.tokens()) != row.split) {
    }
    std::int16_t* end = std::copy(expression_.tokens().begin(), expression_.tokens().end(), row.x);
    *row.asked = static_cast<std::int16_t>(end - row.x);
    *row.answers = static_cast<std::int16_t>(expression_.value());
    *end++ = kListAsks;
    std::fill(end, row.x + rule_.tokens, kListPadding);
  }

 private:
  ListRule rule_;
  Expression expression_;
};

void check_list_lengths(const ListRule& rule) {
  constexpr std::int64_t kLeast = 4;  // an operator, two digits and a bracket
  if (rule.longest < kLeast || rule.longest > rule.tokens - 1) {
    throw ConfigError(
        fmt::format("listops_max_length = {} must be from {} tokens, an operator on two digits, to "
                    "{}, one less than context = {}, which the question takes",
                    rule.longest, kLeast, rule.tokens - 1, rule.tokens));
  }
  if (rule.shortest > rule.longest) {
    throw ConfigError(fmt::format(
        "listops_min_length = {} is more than the {} tokens that an expression may have: give "
        "less, or more in listops_max_length or context",
        rule.shortest, rule.longest));
  }
}

// What is drawn must be of the right length often enough.
void check_list_chances(const ListRule& rule) {
  Expression expression(rule);
  SequenceDraws draws(stream_key(0, "listops trials"));
  std::array<int, 3> found = {};
  int all = 0;
  for (int i = 0; i < kListTrials; ++i) {
    if (!expression.draw(draws)) continue;
    ++all;
    ++found[static_cast<std::size_t>(split_of_expression(expression.tokens()))];
  }
  if (*std::min_element(found.begin(), found.end()) >= kListLeast) return;
  throw ConfigError(fmt::format(
      "of {} expressions drawn with listops_depth = {} and listops_arguments = {} only {} have {} "
      "to {} tokens, which are too few to draw from: give a smaller listops_min_length or a larger "
      "listops_max_length, or more depth or arguments",
      kListTrials, rule.depth, rule.arguments, all, rule.shortest, rule.longest));
}

Dataset generate_listops(const Config& config) {
  ListRule rule;
  rule.tokens = config.integer("context");
  rule.depth = config.integer("listops_depth");
  rule.arguments = config.integer("listops_arguments");
  const std::int64_t shortest = config.integer("listops_min_length"),
                     longest = config.integer("listops_max_length");
  rule.longest = longest == 0 ? rule.tokens - 1 : longest;
  rule.shortest = shortest == 0 ? rule.longest / 4 : shortest;
  check_list_lengths(rule);
  check_list_chances(rule);
  return generate_sequences(config, {rule.tokens, kListTokens, 1, /*has_sources=*/false},
                            [&rule] { return std::make_unique<ListWriter>(rule); });
}

TANDEM_REGISTERED = declare_option(
    generated_count("listops_depth", "10",
                    "levels of an expression, that of the digits being one: 2 is an operator on "
                    "digits alone",
                    2, 64, "levels"));
TANDEM_REGISTERED = declare_option(generated_count(
    "listops_arguments", "10", "arguments of an operator at most; 2 at least", 2, 64, ""));
TANDEM_REGISTERED = declare_option(
    generated_count("listops_min_length", "0",
                    "tokens of an expression at least, brackets and operators included; 0: a "
                    "quarter of the most",
                    0, 32767, "tokens"));
TANDEM_REGISTERED = declare_option(generated_count(
    "listops_max_length", "0",
    "tokens of an expression at most; 0: as many as context has room for beside the question", 0,
    32767, "tokens"));

TANDEM_REGISTERED = register_generated(
    "listops", "generated: the value of nested lists of digits under MAX, MIN, MED and SM",
    "1804.06028", __FILE__,
    {"listops_depth", "listops_arguments", "listops_min_length", "listops_max_length"}, kListTokens,
    generate_listops);

}  // namespace
}  // namespace tandem
