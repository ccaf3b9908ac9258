// What generated data sets of sequences share. Nothing is kept in files: sequence i of a split is a
// function of the set's rule, `generator_seed`, the split and i, so that splits are drawn from
// streams of their own and a longer split begins as a shorter one does. It does not depend on a
// run's seed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/option.h"
#include "core/philox.h"
#include "data/dataset.h"

namespace tandem {

// Draws of one sequence, four 32-bit words from each block of its stream.
class SequenceDraws {
 public:
  explicit SequenceDraws(std::uint64_t key) : key_(key) {}

  // Uniform in [0, n); the bias is below n / 2^32, and n at most 2^15.
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>((word() * static_cast<std::uint64_t>(n)) >> 32);
  }
  double uniform() {  // in [0, 1), 53 bits
    const std::uint64_t high = word(), bits = (high << 32) | word();
    return static_cast<double>(bits >> 11) * (1.0 / 9007199254740992.0);
  }

 private:
  std::uint64_t word() {
    if (used_ == 4) {
      block_ = philox4x32(key_, next_++);
      used_ = 0;
    }
    return block_.word[used_++];
  }

  std::uint64_t key_, next_ = 0;
  PhiloxBlock block_ = {};
  int used_ = 4;
};

enum class GeneratedSplit { kTrain, kValidation, kTest };

// Where a sequence is written, and the key of its draws.
struct SequenceRow {
  std::uint64_t key;
  GeneratedSplit split;
  std::int16_t* x;  // [tokens]
  // [queries], by place: the places that are asked, what is right, and where that stands in x, if
  // it does in this set.
  std::int16_t *asked, *answers, *sources;
};

// Writes sequences one after the other, each a function of the rule and of the row's key and split
// alone.
class SequenceWriter {
 public:
  virtual ~SequenceWriter() = default;
  virtual void write(const SequenceRow& row) = 0;
};

struct GeneratedShape {
  std::int64_t tokens = 0, vocabulary = 0, queries = 1;
  bool has_sources = true;
};

// The data set that a config names, written on the threads that host work has. Throws ConfigError
// where it would be more than is kept in memory.
Dataset generate_sequences(const Config& config, const GeneratedShape& shape,
                           const std::function<std::unique_ptr<SequenceWriter>()>& make_writer);

// What stands where a sequence says nothing.
enum class SequenceFiller {
  kUnbound,  // any token but those that bind or mark something in the sequence
  kAny,
  kNone,  // token 0
};
SequenceFiller sequence_filler(const Config& config);

// Options of generated sets, which are left out of ids at their defaults.
Option generated_count(const std::string& name, const std::string& value, const std::string& help,
                       double minimum, double maximum, const std::string& unit = "sequences");
Option generated_real(const std::string& name, const std::string& value, const std::string& help,
                      double minimum, double maximum);

// Registers a set that reads context, the sizes of splits, `generator_seed` and `more`. It has so
// many tokens, or where that is 0 as many as `vocabulary` says.
bool register_generated(const std::string& name, const std::string& summary,
                        const std::string& cite, const std::string& file,
                        const std::vector<std::string>& more, std::int64_t tokens,
                        Dataset (*generate)(const Config&));

}  // namespace tandem
