#include "data/generated.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "config/part.h"
#include "core/error.h"
#include "core/parallel.h"
#include "data/data_facts.h"
#include "data/reader.h"

namespace tandem {
namespace {

constexpr std::int64_t kMostVocabulary = 32768;  // tokens are stored in 16 bits
constexpr std::int64_t kMostPlaces = 32767;      // so are places in a sequence
constexpr std::int64_t kMostStored = std::int64_t{1} << 31;
constexpr std::size_t kSequencesPerPiece = 1024;

struct SplitOfSet {
  const char* name;
  const char* option;
  GeneratedSplit split;
};
constexpr SplitOfSet kGeneratedSplits[] = {
    {"train", "train_sequences", GeneratedSplit::kTrain},
    {"validation", "validation_sequences", GeneratedSplit::kValidation},
    {"test", "test_sequences", GeneratedSplit::kTest}};

// All that a generated set is, so that a process keeps each once.
std::string generated_options(const Config& config) {
  std::string text;
  for (const std::string& name : part("data", config.text("data")).uses) {
    text += fmt::format("{}={}\n", name, config.text(name));
  }
  return text;
}

void check_stored(const Config& config, std::int64_t tokens) {
  if (tokens > kMostPlaces) {
    throw ConfigError(
        fmt::format("context = {} is longer than generated sequences are: give at "
                    "most {}",
                    tokens, kMostPlaces));
  }
  std::int64_t all = 0;
  for (const SplitOfSet& split : kGeneratedSplits) all += config.integer(split.option);
  if (all <= kMostStored / tokens) return;
  throw ConfigError(
      fmt::format("{} sequences of context = {} are more than are kept in memory: give at most "
                  "{} in train_sequences, validation_sequences and test_sequences together",
                  all, tokens, kMostStored / tokens));
}

}  // namespace

Dataset generate_sequences(const Config& config, const GeneratedShape& shape,
                           const std::function<std::unique_ptr<SequenceWriter>()>& make_writer) {
  check_stored(config, shape.tokens);
  Dataset dataset;
  dataset.kind = Dataset::Kind::kSequences;
  dataset.name = config.text("data");
  dataset.classes = shape.vocabulary;
  std::vector<std::pair<std::uint64_t, GeneratedSplit>> keys;
  std::vector<std::int64_t>* const lists[] = {&dataset.train, &dataset.validation, &dataset.test};
  for (std::size_t s = 0; s < std::size(kGeneratedSplits); ++s) {
    const std::uint64_t stream =
        stream_key(static_cast<std::uint64_t>(config.integer("generator_seed")),
                   dataset.name + " " + kGeneratedSplits[s].name);
    const std::int64_t count = config.integer(kGeneratedSplits[s].option);
    lists[s]->resize(static_cast<std::size_t>(count));
    std::iota(lists[s]->begin(), lists[s]->end(), static_cast<std::int64_t>(keys.size()));
    for (std::int64_t i = 0; i < count; ++i) {
      keys.emplace_back(sub_key(stream, static_cast<std::uint64_t>(i)), kGeneratedSplits[s].split);
    }
  }
  const auto count = static_cast<std::int64_t>(keys.size()), queries = shape.queries;
  dataset.inputs = at::empty({count, shape.tokens}, at::kShort);
  dataset.asked = at::empty({count, queries}, at::kShort);
  dataset.answers = at::empty({count, queries}, at::kShort);
  if (shape.has_sources) dataset.sources = at::empty({count, queries}, at::kShort);
  auto* x = dataset.inputs.data_ptr<std::int16_t>();
  auto* asked = dataset.asked.data_ptr<std::int16_t>();
  auto* answers = dataset.answers.data_ptr<std::int16_t>();
  auto* sources = shape.has_sources ? dataset.sources.data_ptr<std::int16_t>() : nullptr;
  const std::size_t pieces = (keys.size() + kSequencesPerPiece - 1) / kSequencesPerPiece;
  for_each_index(pieces, host_threads(), [&](std::size_t piece) {
    const std::unique_ptr<SequenceWriter> writer = make_writer();
    const std::size_t end = std::min(keys.size(), (piece + 1) * kSequencesPerPiece);
    for (std::size_t i = piece * kSequencesPerPiece; i < end; ++i) {
      const auto row = static_cast<std::int64_t>(i);
      writer->write({keys[i].first, keys[i].second, x + row * shape.tokens, asked + row * queries,
                     answers + row * queries, sources ? sources + row * queries : nullptr});
    }
  });
  return dataset;
}

SequenceFiller sequence_filler(const Config& config) {
  const std::string& name = config.text("filler");
  return name == "any"    ? SequenceFiller::kAny
         : name == "none" ? SequenceFiller::kNone
                          : SequenceFiller::kUnbound;
}

Option generated_count(const std::string& name, const std::string& value, const std::string& help,
                       double minimum, double maximum, const std::string& unit) {
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

Option generated_real(const std::string& name, const std::string& value, const std::string& help,
                      double minimum, double maximum) {
  Option option = generated_count(name, value, help, minimum, maximum, "");
  option.type = OptionType::kReal;
  return option;
}

bool register_generated(const std::string& name, const std::string& summary,
                        const std::string& cite, const std::string& file,
                        const std::vector<std::string>& more, std::int64_t tokens,
                        Dataset (*generate)(const Config&)) {
  Part part;
  part.kind = "data";
  part.name = name;
  part.summary = summary;
  part.cite = cite;
  part.uses = {"context", "train_sequences", "validation_sequences", "test_sequences",
               "generator_seed"};
  part.uses.insert(part.uses.end(), more.begin(), more.end());
  part.file = file;
  DataFacts facts;
  facts.kind = Dataset::Kind::kSequences;
  facts.classes = tokens;
  if (tokens == 0) facts.classes_option = "vocabulary";
  return declare_data_facts(name, facts) &&
         dataset_readers().add(std::move(part), {nullptr, generate, generated_options});
}

namespace {

Option filler_option() {
  Option option = generated_count("filler", "unbound",
                                  "tokens between what a sequence binds or marks and its queries: "
                                  "any but its own keys and markers, any of the vocabulary, or "
                                  "token 0",
                                  0, 0, "");
  option.type = OptionType::kChoice;
  option.minimum = option.maximum = std::nullopt;
  option.choices = {"unbound", "any", "none"};
  return option;
}

TANDEM_REGISTERED = declare_option(
    generated_count("vocabulary", "64",
                    "tokens of generated sequences; of associative recall keys come before values",
                    4, kMostVocabulary, "tokens"));
TANDEM_REGISTERED = declare_option(
    generated_real("depth", "0",
                   "how far what is asked for lies along the way to the query: 0 at the start, 1 "
                   "right before it; -1: anywhere, drawn for each sequence",
                   -1, 1));
TANDEM_REGISTERED = declare_option(filler_option());
TANDEM_REGISTERED = declare_option(
    generated_count("train_sequences", "100000", "generated sequences to train on", 1, 1e9));
TANDEM_REGISTERED = declare_option(
    generated_count("validation_sequences", "1000", "generated sequences for validation", 0, 1e9));
TANDEM_REGISTERED = declare_option(
    generated_count("test_sequences", "1000", "generated sequences for the test split", 1, 1e9));
TANDEM_REGISTERED = declare_option(generated_count(
    "generator_seed", "0", "which sequences are generated, the same for all of a run's seeds", 0,
    2147483647, ""));

}  // namespace
}  // namespace tandem
