// A stream in which no task ends: MNIST-360 (Buzzega et al. 2020, arXiv 2004.07211, general
// continual learning), of any square images of one channel. Of C classes it shows two at a time,
// (0,1), (1,2), ..., (C-1,0), and goes round so for `pair_rounds` rounds. A class is in two pairs
// of each round: its training examples, in an order of the run's stream "data", are cut into
// 2 x rounds parts, of which each pair takes the next. Within a pair the classes alternate in the
// proportion of their parts, so that any batch has about as much of each as there is left of it.
// The n examples of a class turn once round as they are shown: the k-th, from 0, is seen under
// (class - 1) 60 + k 360 / n degrees, and keeps that angle where it is replayed. Validation and
// test examples of a class turn so from 0 degrees on, in the order of the data set. A batch is what
// comes next in the stream, and may have examples of two pairs.
#include <fmt/format.h>

#include <algorithm>

#include "config/seeds.h"
#include "continual/scenario.h"
#include "core/error.h"
#include "core/philox.h"
#include "data/sampler.h"

namespace tandem {
namespace {

constexpr std::uint64_t kShown = std::uint64_t{2} << 32;  // of the stream "data", beyond all stages
constexpr double kBetweenClasses = 60;  // degrees from one class's start to the next

using ClassExamples = std::vector<std::vector<std::int64_t>>;

std::int64_t classes_in(const Config& config, const Dataset& data) {
  if (data.sequences() || data.channels != 1 || data.height != data.width) {
    const std::string has =
        !data.sequences() ? fmt::format("{} x {} with {}", data.height, data.width, data.channels)
                          : "none";
    throw ConfigError(fmt::format(
        "scenario = general_360 turns square images of one channel, and those of {} are {}; give "
        "other data, or scenario = single",
        data.name, has));
  }
  const std::int64_t said = config.integer("pair_classes");
  const std::int64_t classes = said == 0 ? data.classes : said;
  if (classes >= 2 && classes <= data.classes) return classes;
  throw ConfigError(fmt::format(
      "pair_classes = {}: a stream shows two classes at a time, and {} has {}; give 2 to {}, or "
      "0 for all",
      said, data.name, data.classes, data.classes));
}

// The examples of the first classes, each class's in the order of the list.
ClassExamples examples_by_class(const std::vector<std::int64_t>& examples, const Dataset& data,
                                std::int64_t classes) {
  const auto* labels = data.labels.const_data_ptr<std::int64_t>();
  ClassExamples all(static_cast<std::size_t>(classes));
  for (const std::int64_t each : examples) {
    if (labels[each] < classes) all[static_cast<std::size_t>(labels[each])].push_back(each);
  }
  return all;
}

std::vector<std::int64_t> in_data_order(const ClassExamples& all) {
  std::vector<std::int64_t> list;
  for (const auto& own : all) list.insert(list.end(), own.begin(), own.end());
  std::sort(list.begin(), list.end());
  return list;
}

void shuffle_classes(ClassExamples& all, std::uint64_t key) {
  for (std::size_t c = 0; c < all.size(); ++c) {
    const std::vector<std::int64_t> own = all[c];
    const auto order = permutation(sub_key(key, c), static_cast<std::int64_t>(own.size()));
    for (std::size_t i = 0; i < own.size(); ++i) {
      all[c][i] = own[static_cast<std::size_t>(order[i])];
    }
  }
}

// Each class's examples turn once round, the c-th class's from `first` + c `apart` degrees on.
void add_turns(const ClassExamples& all, double first, double apart, ExampleAngles& angles,
               std::int32_t& next) {
  for (std::size_t c = 0; c < all.size(); ++c) {
    angles.arcs.push_back(
        {first + static_cast<double>(c) * apart, static_cast<std::int64_t>(all[c].size())});
    for (const std::int64_t each : all[c]) {
      angles.number[static_cast<std::size_t>(each)] = next++;
    }
  }
}

// Examples of two parts that alternate in the proportion of their sizes.
struct ClassPart {
  const std::int64_t* begin;
  std::size_t size;
};

void append_pair(const ClassPart& a, const ClassPart& b, std::vector<std::int64_t>& stream) {
  const std::size_t both = a.size + b.size;
  for (std::size_t i = 0, of_a = 0; i < both; ++i) {
    // After i + 1 examples so many are of the first class, rounded.
    const bool next_a = ((i + 1) * a.size + both / 2) / both > of_a;
    stream.push_back(next_a ? a.begin[of_a] : b.begin[i - of_a]);
    of_a += next_a;
  }
}

std::vector<std::int64_t> in_pairs(const ClassExamples& all, std::int64_t rounds) {
  const std::size_t classes = all.size(), parts = 2 * static_cast<std::size_t>(rounds);
  std::vector<std::size_t> taken(classes, 0);
  const auto next_part = [&](std::size_t c) {
    const std::size_t part = taken[c]++, size = all[c].size();
    const std::size_t from = part * size / parts, to = (part + 1) * size / parts;
    return ClassPart{all[c].data() + from, to - from};
  };
  std::vector<std::int64_t> stream;
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (std::size_t c = 0; c < classes; ++c) {
      const ClassPart first = next_part(c);
      append_pair(first, next_part((c + 1) % classes), stream);
    }
  }
  return stream;
}

void expect_parts(const ClassExamples& all, std::int64_t rounds, const Dataset& data) {
  for (std::size_t c = 0; c < all.size(); ++c) {
    if (static_cast<std::int64_t>(all[c].size()) >= 2 * rounds) continue;
    throw ConfigError(fmt::format(
        "pair_rounds = {} parts the examples of each class in {}, and class {} of {} has {} in "
        "training; give fewer rounds, or raise train_examples",
        rounds, 2 * rounds, c, data.name, all[c].size()));
  }
}

TaskSequence general_360(const Config& config, const Dataset& data) {
  const std::int64_t classes = classes_in(config, data), rounds = config.integer("pair_rounds");
  ClassExamples train = examples_by_class(data.train, data, classes);
  expect_parts(train, rounds, data);
  shuffle_classes(train, sub_key(run_key(config, "data"), kShown));
  const ClassExamples validation = examples_by_class(data.validation, data, classes),
                      test = examples_by_class(data.test, data, classes);
  ExampleAngles angles;
  angles.number.resize(static_cast<std::size_t>(data.inputs.size(0)));
  std::int32_t next = 0;
  add_turns(train, -kBetweenClasses, kBetweenClasses, angles, next);
  add_turns(validation, 0, 0, angles, next);
  add_turns(test, 0, 0, angles, next);
  Task task;
  task.train = in_pairs(train, rounds);
  task.validation = in_data_order(validation);
  task.test = in_data_order(test);
  task.in_order = true;
  TaskSequence sequence;
  for (std::int64_t each = 0; each < data.classes; ++each) {
    if (each < classes) task.classes.push_back(each);
    sequence.target.push_back(each < classes ? each : 0);  // the others are never asked for
  }
  sequence.tasks = {std::move(task)};
  sequence.outputs = classes;
  sequence.task_outputs = {{0, classes}};
  sequence.angles = std::make_shared<const ExampleAngles>(std::move(angles));
  return sequence;
}

[[maybe_unused]] const bool kGeneral360 =
    scenarios().add({.kind = "scenario",
                     .name = "general_360",
                     .summary = "a stream of pairs of classes whose images turn once round, each "
                                "seen once: MNIST-360",
                     .cite = "2004.07211",
                     .defaults = {{"epochs", "1"}},
                     .uses = {"pair_classes", "pair_rounds"},
                     .file = __FILE__},
                    general_360);

}  // namespace
}  // namespace tandem
