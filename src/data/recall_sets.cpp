// Generated data sets of associative recall: `mqar` (multi-query associative recall, Arora et al.
// 2023), `mqar_forgetting` (keys are bound again and the last value counts, as in Zoology, the code
// of that paper) and `recall` (one query at the end; a needle where few pairs lie deep in filler).
// Nothing is kept in files: sequence i of a split is a function of the rule, `generator_seed`, the
// split and i, so that splits are drawn from streams of their own and a longer split begins as a
// shorter one does. It does not depend on a run's seed.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <numeric>

#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "data/data_facts.h"
#include "data/reader.h"
#include "data/recall.h"

namespace tandem {
namespace {

constexpr std::int64_t kMostVocabulary = 32768;  // tokens are stored in 16 bits
constexpr std::int64_t kMostStored = std::int64_t{1} << 31;
constexpr std::size_t kSequencesPerPiece = 1024;

struct RecallSplit {
  const char* name;
  const char* option;
};
constexpr RecallSplit kRecallSplits[] = {{"train", "train_sequences"},
                                         {"validation", "validation_sequences"},
                                         {"test", "test_sequences"}};

RecallFiller recall_filler(const std::string& name) {
  return name == "any"    ? RecallFiller::kAny
         : name == "none" ? RecallFiller::kNone
                          : RecallFiller::kUnbound;
}

RecallRule recall_rule(const Config& config) {
  const std::string& data = config.text("data");
  RecallRule rule;
  rule.vocabulary = config.integer("vocabulary");
  rule.tokens = config.integer("context");
  rule.pairs = config.integer("pairs");
  rule.filler = recall_filler(config.text("filler"));
  rule.asks_all = data != "recall";
  if (rule.asks_all) rule.gap_power = config.real("gap_power");
  if (data == "mqar_forgetting") rule.updates = config.integer("updates");
  if (data == "recall") rule.depth = config.real("depth");
  return rule;
}

void check_recall_rule(const Config& config, const RecallRule& rule) {
  const std::string& data = config.text("data");
  const std::int64_t keys = rule.vocabulary / 2 - 1;
  if (rule.pairs > keys) {
    throw ConfigError(
        fmt::format("pairs = {} is more than the {} keys among vocabulary = {} tokens (1 to {}; "
                    "the upper half are values): give at most {} pairs or a vocabulary of {}",
                    rule.pairs, keys, rule.vocabulary, keys, keys, 2 * (rule.pairs + 1)));
  }
  if (rule.updates > rule.pairs) {
    throw ConfigError(
        fmt::format("updates = {} is more than pairs = {}, and each key is bound again once at "
                    "most: give 0 to {}",
                    rule.updates, rule.pairs, rule.pairs));
  }
  const std::int64_t needed = 2 * rule.bindings() + (rule.asks_all ? 2 * rule.pairs : 1);
  if (needed > rule.tokens) {
    throw ConfigError(
        fmt::format("context = {} has no room for the {} bindings and {} {} of data = {}: "
                    "give a context of {} or more, or fewer pairs",
                    rule.tokens, rule.bindings(), rule.queries(),
                    rule.queries() == 1 ? "query" : "queries", data, needed));
  }
  std::int64_t all = 0;
  for (const RecallSplit& split : kRecallSplits) all += config.integer(split.option);
  if (all > kMostStored / rule.tokens) {
    throw ConfigError(
        fmt::format("{} sequences of context = {} are more than are kept in memory: give at most "
                    "{} in train_sequences, validation_sequences and test_sequences together",
                    all, rule.tokens, kMostStored / rule.tokens));
  }
}

Dataset generate_recall(const Config& config) {
  const RecallRule rule = recall_rule(config);
  check_recall_rule(config, rule);
  Dataset dataset;
  dataset.kind = Dataset::Kind::kSequences;
  dataset.name = config.text("data");
  dataset.classes = rule.vocabulary;
  std::vector<std::uint64_t> keys;
  std::vector<std::int64_t>* const lists[] = {&dataset.train, &dataset.validation, &dataset.test};
  for (std::size_t s = 0; s < std::size(kRecallSplits); ++s) {
    const std::uint64_t stream =
        stream_key(static_cast<std::uint64_t>(config.integer("generator_seed")),
                   dataset.name + " " + kRecallSplits[s].name);
    const std::int64_t count = config.integer(kRecallSplits[s].option);
    lists[s]->resize(static_cast<std::size_t>(count));
    std::iota(lists[s]->begin(), lists[s]->end(), static_cast<std::int64_t>(keys.size()));
    for (std::int64_t i = 0; i < count; ++i) {
      keys.push_back(sub_key(stream, static_cast<std::uint64_t>(i)));
    }
  }
  const auto count = static_cast<std::int64_t>(keys.size()), queries = rule.queries();
  dataset.inputs = at::empty({count, rule.tokens}, at::kShort);
  dataset.asked = at::empty({count, queries}, at::kShort);
  dataset.answers = at::empty({count, queries}, at::kShort);
  auto* x = dataset.inputs.data_ptr<std::int16_t>();
  auto* asked = dataset.asked.data_ptr<std::int16_t>();
  auto* answers = dataset.answers.data_ptr<std::int16_t>();
  const std::size_t pieces = (keys.size() + kSequencesPerPiece - 1) / kSequencesPerPiece;
  for_each_index(pieces, host_threads(), [&](std::size_t piece) {
    RecallWriter writer(rule);
    const std::size_t end = std::min(keys.size(), (piece + 1) * kSequencesPerPiece);
    for (std::size_t i = piece * kSequencesPerPiece; i < end; ++i) {
      const auto row = static_cast<std::int64_t>(i);
      writer.write(keys[i], x + row * rule.tokens, asked + row * queries, answers + row * queries);
    }
  });
  return dataset;
}

// All that a generated set is, so that a process keeps each once.
std::string recall_options(const Config& config) {
  std::string text;
  for (const std::string& name : part("data", config.text("data")).uses) {
    text += fmt::format("{}={}\n", name, config.text(name));
  }
  return text;
}

Option recall_count(const std::string& name, const std::string& value, const std::string& help,
                    double minimum, double maximum, const std::string& unit = "sequences") {
  Option option;
  option.name = name;
  option.type = OptionType::kInt;
  option.default_value = option.neutral = value;
  option.help = help;
  option.unit = unit;
  option.minimum = minimum;
  option.maximum = maximum;
  option.of_part = true;
  option.group = "data";
  return option;
}

Option recall_real(const std::string& name, const std::string& value, const std::string& help,
                   double minimum, double maximum) {
  Option option = recall_count(name, value, help, minimum, maximum, "");
  option.type = OptionType::kReal;
  return option;
}

Option filler_option() {
  Option option = recall_count("filler", "unbound",
                               "tokens between bindings and queries: any but the sequence's own "
                               "keys, any of the vocabulary, or token 0",
                               0, 0, "");
  option.type = OptionType::kChoice;
  option.minimum = option.maximum = std::nullopt;
  option.choices = {"unbound", "any", "none"};
  return option;
}

TANDEM_REGISTERED = declare_option(
    recall_count("vocabulary", "64",
                 "tokens of generated sequences: keys in the lower half, values in the upper", 4,
                 kMostVocabulary, "tokens"));
TANDEM_REGISTERED =
    declare_option(recall_count("pairs", "4", "keys of a generated sequence, each bound to a value",
                                1, kMostVocabulary / 2, ""));
TANDEM_REGISTERED = declare_option(
    recall_count("updates", "2", "keys of a sequence that are bound again, to another value", 0,
                 kMostVocabulary / 2, ""));
TANDEM_REGISTERED = declare_option(
    recall_real("gap_power", "0.01",
                "a query lies 2g tokens behind the bindings with a chance like (g + 1)^(gap_power "
                "- 1): near them where it is small, evenly at 1",
                0, 1));
TANDEM_REGISTERED = declare_option(
    recall_real("depth", "0",
                "how far the bindings lie along the way to the query: 0 at the start, 1 right "
                "before it; -1: anywhere, drawn for each sequence",
                -1, 1));
TANDEM_REGISTERED = declare_option(filler_option());
TANDEM_REGISTERED = declare_option(
    recall_count("train_sequences", "100000", "generated sequences to train on", 1, 1e9));
TANDEM_REGISTERED = declare_option(
    recall_count("validation_sequences", "1000", "generated sequences for validation", 0, 1e9));
TANDEM_REGISTERED = declare_option(
    recall_count("test_sequences", "1000", "generated sequences for the test split", 1, 1e9));
TANDEM_REGISTERED = declare_option(recall_count(
    "generator_seed", "0", "which sequences are generated, the same for all of a run's seeds", 0,
    2147483647, ""));

bool register_recall(const std::string& name, const std::string& summary, const std::string& cite,
                     const std::vector<std::string>& more) {
  Part part;
  part.kind = "data";
  part.name = name;
  part.summary = summary;
  part.cite = cite;
  part.uses = {"context",         "vocabulary",           "pairs",          "filler",
               "train_sequences", "validation_sequences", "test_sequences", "generator_seed"};
  part.uses.insert(part.uses.end(), more.begin(), more.end());
  part.file = __FILE__;
  DataFacts facts;
  facts.kind = Dataset::Kind::kSequences;
  facts.classes_option = "vocabulary";
  return declare_data_facts(name, facts) &&
         dataset_readers().add(std::move(part), {nullptr, generate_recall, recall_options});
}

TANDEM_REGISTERED = register_recall(
    "mqar", "generated: multi-query associative recall, pairs and then each key once more",
    "2312.04927", {"gap_power"});
TANDEM_REGISTERED =
    register_recall("mqar_forgetting",
                    "generated: the same where some keys are bound again and the last value counts",
                    "2312.04927", {"gap_power", "updates"});
TANDEM_REGISTERED = register_recall(
    "recall", "generated: pairs at a depth of filler, and one key once more at the end (a needle)",
    "", {"depth"});

}  // namespace
}  // namespace tandem
