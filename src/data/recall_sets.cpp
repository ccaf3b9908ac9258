// Generated data sets of associative recall: `mqar` (multi-query associative recall, Arora et al.
// 2023), `mqar_forgetting` (keys are bound again and the last value counts), `mqar_compositional`
// (keys are two tokens, neither of which tells the value; all three as in Zoology, the code of that
// paper), `mqar_stacked` (a key and its value share a token), `mqar_multihop` (keys lead to their
// values over other keys: the k-hop recall of Sanford et al. 2024 with pairs for bindings) and
// `recall` (one query at the end; a needle where few pairs lie deep in filler).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "config/part.h"
#include "core/error.h"
#include "data/recall.h"

namespace tandem {
namespace {

constexpr double kMostKeys = 16384;  // half of the tokens that there may be

RecallRule recall_rule(const Config& config) {
  const std::string& data = config.text("data");
  RecallRule rule;
  rule.vocabulary = config.integer("vocabulary");
  rule.tokens = config.integer("context");
  rule.pairs = config.integer("pairs");
  rule.filler = sequence_filler(config);
  rule.asks_all = data != "recall";
  rule.compound = data == "mqar_compositional";
  if (rule.asks_all) rule.gap_power = config.real("gap_power");
  if (data == "mqar_forgetting") rule.updates = config.integer("updates");
  rule.stacked = data == "mqar_stacked";
  if (rule.stacked) rule.passes = config.integer("passes");
  if (data == "mqar_multihop") rule.hops = config.integer("hops");
  if (data == "recall") rule.depth = config.real("depth");
  return rule;
}

// What a vocabulary has too few of for the pairs.
void check_compound_keys(const RecallRule& rule) {
  const std::int64_t side = std::llround(std::sqrt(static_cast<double>(rule.pairs)));
  if (side * side != rule.pairs) {
    throw ConfigError(
        fmt::format("pairs = {} of mqar_compositional must be a square number, as all combinations "
                    "of some first and as many second tokens of a key are bound: give {} or {}",
                    rule.pairs, std::max<std::int64_t>(1, (side - 1) * (side - 1)), side * side));
  }
  if (side <= rule.keys() && rule.pairs <= rule.values()) return;
  throw ConfigError(
      fmt::format("pairs = {} need {} first and {} second tokens of keys and {} values, and of "
                  "vocabulary = {} tokens {}, {} and {} are that: give a vocabulary of {}",
                  rule.pairs, side, side, rule.pairs, rule.vocabulary, rule.keys(),
                  rule.first_second(), rule.values(), 3 * std::max(side + 1, rule.pairs)));
}

void check_stacked_keys(const RecallRule& rule) {
  const std::int64_t side = rule.side();
  if (side * side == rule.vocabulary && rule.pairs < side) return;
  const std::int64_t wanted = std::max(side, rule.pairs + 1);
  throw ConfigError(
      fmt::format("vocabulary = {} of mqar_stacked must be a square number s^2, s - 1 keys and as "
                  "many values and whatever they make together, and pairs = {} need as many keys: "
                  "give a vocabulary of {}",
                  rule.vocabulary, rule.pairs, wanted * wanted));
}

void check_simple_keys(const RecallRule& rule) {
  const std::int64_t keys = rule.keys();
  if (rule.pairs * rule.hops <= keys) return;
  if (rule.hops > 1) {
    throw ConfigError(
        fmt::format("pairs = {} over hops = {} need {} keys, and vocabulary = {} has {} (1 to {}; "
                    "the upper half are values): give fewer, or a vocabulary of {}",
                    rule.pairs, rule.hops, rule.pairs * rule.hops, rule.vocabulary, keys, keys,
                    2 * (rule.pairs * rule.hops + 1)));
  }
  throw ConfigError(
      fmt::format("pairs = {} is more than the {} keys among vocabulary = {} tokens (1 to {}; "
                  "the upper half are values): give at most {} pairs or a vocabulary of {}",
                  rule.pairs, keys, rule.vocabulary, keys, keys, 2 * (rule.pairs + 1)));
}

void check_recall_rule(const Config& config, const RecallRule& rule) {
  if (rule.stacked) {
    check_stacked_keys(rule);
  } else {
    rule.compound ? check_compound_keys(rule) : check_simple_keys(rule);
  }
  if (rule.updates > rule.pairs) {
    throw ConfigError(
        fmt::format("updates = {} is more than pairs = {}, and each key is bound again once at "
                    "most: give 0 to {}",
                    rule.updates, rule.pairs, rule.pairs));
  }
  const std::int64_t needed =
      rule.stride() * rule.bindings() + (rule.asks_all ? rule.stride() * rule.pairs : 1);
  if (needed > rule.tokens) {
    throw ConfigError(
        fmt::format("context = {} has no room for the {} bindings and {} {} of data = {}: "
                    "give a context of {} or more, or fewer pairs",
                    rule.tokens, rule.bindings(), rule.queries(),
                    rule.queries() == 1 ? "query" : "queries", config.text("data"), needed));
  }
}

Dataset generate_recall(const Config& config) {
  const RecallRule rule = recall_rule(config);
  check_recall_rule(config, rule);
  return generate_sequences(config, {rule.tokens, rule.vocabulary, rule.queries()},
                            [&rule] { return std::make_unique<RecallWriter>(rule); });
}

TANDEM_REGISTERED = declare_option(generated_count(
    "pairs", "4", "keys of a generated sequence, each bound to a value", 1, kMostKeys, ""));
TANDEM_REGISTERED = declare_option(generated_count(
    "updates", "2", "keys of a sequence that are bound again, to another value", 0, kMostKeys, ""));
TANDEM_REGISTERED = declare_option(
    generated_count("hops", "2",
                    "bindings over which a key leads to its value: of a key to another key, and of "
                    "the last one to the value",
                    1, 64, ""));
TANDEM_REGISTERED = declare_option(
    generated_count("passes", "1",
                    "how often a sequence shows all of its stacked bindings, each time in an order "
                    "of its own, before it asks for them",
                    1, 64, ""));
TANDEM_REGISTERED = declare_option(
    generated_real("gap_power", "0.01",
                   "a query lies g places behind the bindings (of as many tokens as a binding) "
                   "with a chance like (g + 1)^(gap_power - 1): near them where it is small, "
                   "evenly at 1",
                   0, 1));

bool register_recall(const std::string& name, const std::string& summary, const std::string& cite,
                     const std::vector<std::string>& more) {
  std::vector<std::string> uses = {"vocabulary", "pairs", "filler"};
  uses.insert(uses.end(), more.begin(), more.end());
  return register_generated(name, summary, cite, __FILE__, uses, 0, generate_recall);
}

TANDEM_REGISTERED = register_recall(
    "mqar", "generated: multi-query associative recall, pairs and then each key once more",
    "2312.04927", {"gap_power"});
TANDEM_REGISTERED =
    register_recall("mqar_forgetting",
                    "generated: the same where some keys are bound again and the last value counts",
                    "2312.04927", {"gap_power", "updates"});
TANDEM_REGISTERED = register_recall(
    "mqar_compositional",
    "generated: the same where a key is two tokens, of which neither tells the value alone",
    "2312.04927", {"gap_power"});
TANDEM_REGISTERED = register_recall(
    "mqar_stacked",
    "generated: the same where a key and its value share a token, so that no token must be carried "
    "to the next",
    "2312.04927", {"gap_power", "passes"});
TANDEM_REGISTERED = register_recall(
    "mqar_multihop",
    "generated: the same where a key is bound to another key, and so on, up to a value",
    "2402.09268", {"gap_power", "hops"});
TANDEM_REGISTERED = register_recall(
    "recall", "generated: pairs at a depth of filler, and one key once more at the end (a needle)",
    "", {"depth"});

}  // namespace
}  // namespace tandem
