// A stream as it is trained on: consecutive batches of real images under their angles, evaluated on
// its way, and what joint training makes of it.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "data/example.h"
#include "plan/stages.h"
#include "support/train_support.h"
#include "train/batches.h"

namespace tandem::test::train_stream_property {

using namespace tandem::test;

namespace {

Config stream(const std::string& seed, const Settings& more = {}) {
  Settings said = {{"scenario", "general_360"}, {"pair_rounds", "2"}, {"train_examples", "500"},
                   {"pair_classes", "7"},       {"batch", "12"},      {"epochs", "1"},
                   {"validation", "0.005"},     {"seed", seed}};
  for (const auto& [name, value] : more) said[name] = value;
  return small_run(said);
}

using Steps = std::vector<std::vector<std::int64_t>>;  // examples of each step

Steps course(Batches& batches, const std::vector<Config>& configs, std::size_t r, StageData kind) {
  std::vector<std::vector<std::int64_t>> lengths;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const Stages stages(configs[i], batches.data(), batches.tasks(static_cast<std::int64_t>(i)),
                        kind);
    lengths.push_back(stages.timeline().task_steps);
  }
  REQUIRE(lengths[r].size() == 1);
  batches.begin_stage(0, kind, lengths);
  Steps steps;
  for (std::int64_t s = 0; s < lengths[r][0]; ++s) {
    steps.push_back(batches.of_step(static_cast<std::int64_t>(r), s));
  }
  return steps;
}

std::vector<std::int64_t> all_of(const Steps& steps) {
  std::vector<std::int64_t> all;
  for (const auto& each : steps) all.insert(all.end(), each.begin(), each.end());
  return all;
}

// A pixel of a turned image, in double precision: all pixels count by how near they are to the
// point that it shows.
double turned_pixel(const std::uint8_t* image, std::int64_t side, double degrees, std::int64_t row,
                    std::int64_t column) {
  const double c = std::cos(degrees / 180 * M_PI), s = std::sin(degrees / 180 * M_PI);
  const double centre = static_cast<double>(side - 1) / 2;
  const double dy = static_cast<double>(row) - centre, dx = static_cast<double>(column) - centre;
  const double y = centre + s * dx + c * dy, x = centre + c * dx - s * dy;
  double sum = 0;
  for (std::int64_t v = 0; v < side; ++v) {
    for (std::int64_t u = 0; u < side; ++u) {
      sum += std::max(0.0, 1 - std::abs(y - static_cast<double>(v))) *
             std::max(0.0, 1 - std::abs(x - static_cast<double>(u))) * image[v * side + u];
    }
  }
  return sum / 255;
}

}  // namespace

TEST_CASE("a stream's steps take its examples one after the other, whatever the company",
          "[property]") {
  const std::vector<Config> group = {stream("1"), stream("2"), stream("3")};
  Batches batches(group, at::kCPU, at::kFloat);
  std::set<std::vector<std::int64_t>> streams;
  for (std::size_t r = 0; r < group.size(); ++r) {
    const Steps steps = course(batches, group, r, StageData::kOwnTask);
    const std::vector<std::int64_t>& listed =
        batches.tasks(static_cast<std::int64_t>(r)).tasks.front().train.places();
    REQUIRE(listed.size() > 300);
    REQUIRE(steps.size() == (listed.size() + 11) / 12);
    for (std::size_t s = 0; s + 1 < steps.size(); ++s) REQUIRE(steps[s].size() == 12);
    const std::vector<std::int64_t> taken = all_of(steps);
    REQUIRE(taken.size() == listed.size());
    for (std::size_t i = 0; i < taken.size(); ++i) {
      REQUIRE(source_of(taken[i]) == listed[i]);
      REQUIRE(task_of(taken[i]) == 1);
    }
    streams.insert(listed);
    Batches alone({group[r]}, at::kCPU, at::kFloat);
    REQUIRE(course(alone, {group[r]}, 0, StageData::kOwnTask) == steps);
  }
  CHECK(streams.size() == 3);
}

TEST_CASE("joint training has a stream's examples under the same angles, shuffled", "[property]") {
  const std::vector<Config> own = {stream("4")};
  Batches batches(own, at::kCPU, at::kFloat);
  const std::vector<std::int64_t> shown = all_of(course(batches, own, 0, StageData::kOwnTask));
  const std::vector<std::int64_t> joint = all_of(course(batches, own, 0, StageData::kAllTasks));
  CHECK(joint != shown);
  CHECK(std::is_permutation(joint.begin(), joint.end(), shown.begin(), shown.end()));
  // Each class is spread over the whole of it, where in a stream it comes in a few stretches.
  const auto* labels = batches.data().labels.const_data_ptr<std::int64_t>();
  const auto classes_of = [&](const std::vector<std::int64_t>& list, std::size_t first) {
    std::set<std::int64_t> classes;
    for (std::size_t i = first; i < first + 40; ++i) classes.insert(labels[source_of(list[i])]);
    return classes.size();
  };
  for (const std::size_t first : {0, 100, 200}) {
    CHECK(classes_of(joint, first) > 5);
    CHECK(classes_of(shown, first) < 5);
  }
}

TEST_CASE("a stream's images are turned by their own run's angles, when replayed too",
          "[property]") {
  const std::vector<Config> group = {stream("1"), stream("2")};
  Batches batches(group, at::kCPU, at::kDouble);
  const std::vector<std::int64_t> first = course(batches, group, 0, StageData::kOwnTask)[20],
                                  second = course(batches, group, 1, StageData::kOwnTask)[20];
  const Batch once = batches.make({first, second}, 12, OutputsOf::kAll);
  // Asked for again by the other run, it is under that one's angle.
  const Batch again = batches.make({second, first}, 12, OutputsOf::kAll);
  const auto side = batches.data().height;
  const auto* pixels = batches.data().inputs.const_data_ptr<std::uint8_t>();
  const auto* labels = batches.data().labels.const_data_ptr<std::int64_t>();
  for (std::int64_t r = 0; r < 2; ++r) {
    const TaskSequence& sequence = batches.tasks(r);
    std::map<std::int64_t, std::vector<std::int64_t>> by_class;
    for (const std::int64_t each : sequence.tasks.front().train) {
      by_class[labels[each]].push_back(each);
    }
    for (const bool replayed : {false, true}) {
      const std::vector<std::int64_t>& examples = (r == 0) != replayed ? first : second;
      const at::Tensor& x = replayed ? again.x : once.x;
      for (const std::int64_t i : {0, 5, 11}) {
        const std::int64_t source = source_of(examples[static_cast<std::size_t>(i)]);
        const std::vector<std::int64_t>& own = by_class[labels[source]];
        const auto k = std::find(own.begin(), own.end(), source) - own.begin();
        const double degrees = (static_cast<double>(labels[source]) - 1) * 60 +
                               static_cast<double>(k) * 360 / static_cast<double>(own.size());
        CAPTURE(r, replayed, i, degrees);
        REQUIRE((replayed ? again : once).target[r][i].item<std::int64_t>() == labels[source]);
        for (std::int64_t pixel = 0; pixel < side * side; pixel += 3) {
          const double expected = turned_pixel(pixels + source * side * side, side, degrees,
                                               pixel / side, pixel % side);
          REQUIRE(x[r][i][pixel].item<double>() == Approx(expected).margin(1e-6));
        }
      }
    }
  }
}

TEST_CASE("a stream is evaluated on its way", "[property]") {
  const Config run = stream("1", {{"eval_every", "0.25"},
                                  {"final", "true"},
                                  {"strategy", "er"},
                                  {"buffer", "30"},
                                  {"weights", "set"}});
  GroupSpec spec;
  spec.runs = {run};
  MemorySink sink;
  run_group(spec, sink);
  std::map<std::string, std::map<std::int64_t, std::int64_t>> points;  // by split and step
  for (const Row& row : sink.unacknowledged()) {
    if (const auto* evaluated = std::get_if<EvalRow>(&row.body)) {
      CHECK(evaluated->task == 1);
      points[evaluated->split][evaluated->step] = evaluated->n_total;
    }
  }
  const auto data = load_dataset(run);
  const auto* labels = data->labels.const_data_ptr<std::int64_t>();
  const auto known = [&](const std::vector<std::int64_t>& list) {
    return std::count_if(list.begin(), list.end(),
                         [&](std::int64_t each) { return labels[each] < 7; });
  };
  REQUIRE(points["validation"].size() >= 4);
  for (const auto& [step, examples] : points["validation"]) {
    CHECK(examples == known(data->validation));
  }
  REQUIRE(points["test"].size() == 1);
  CHECK(points["test"].begin()->second == 7000);
}

}  // namespace tandem::test::train_stream_property
