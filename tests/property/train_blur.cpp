// Switches without a sharp edge: what the steps near them take, from the batches alone.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "data/example.h"
#include "plan/stages.h"
#include "support/train_support.h"
#include "train/batches.h"

namespace tandem::test::train_blur_property {

using namespace tandem::test;

namespace {

constexpr std::int64_t kBatch = 8;

Config blurred(const std::string& blur, const std::string& seed, const std::string& epochs = "2") {
  return small_run({{"scenario", "class_il"},
                    {"tasks", "5"},
                    {"train_examples", "900"},
                    {"batch", std::to_string(kBatch)},
                    {"epochs", epochs},
                    {"blur", blur},
                    {"seed", seed}});
}

using Steps = std::vector<std::vector<std::int64_t>>;  // of a stage: examples of each step

// All stages' steps of replica r.
std::vector<Steps> course(const std::vector<Config>& configs, std::int64_t r) {
  Batches batches(configs, at::kCPU, at::kFloat);
  std::vector<std::vector<std::int64_t>> lengths;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const Stages stages(configs[i], batches.data(), batches.tasks(static_cast<std::int64_t>(i)),
                        StageData::kOwnTask);
    lengths.push_back(stages.timeline().task_steps);
  }
  std::vector<Steps> all;
  for (std::int64_t stage = 0; stage < 5; ++stage) {
    batches.begin_stage(stage, StageData::kOwnTask, lengths);
    Steps& steps = all.emplace_back();
    const std::int64_t count =
        lengths[static_cast<std::size_t>(r)][static_cast<std::size_t>(stage)];
    for (std::int64_t s = 0; s < count; ++s) steps.push_back(batches.of_step(r, s));
  }
  return all;
}

}  // namespace

TEST_CASE("with blurred switches each example is seen as often, by the steps near them",
          "[property]") {
  double expected = 0, exchanged = 0, variance = 0;
  for (const std::string seed : {"1", "2", "3", "4"}) {
    const auto sharp = course({blurred("0", seed)}, 0), blur = course({blurred("0.3", seed)}, 0);
    REQUIRE(sharp.size() == blur.size());
    std::map<std::int64_t, int> seen;
    for (std::size_t stage = 0; stage < sharp.size(); ++stage) {
      REQUIRE(sharp[stage].size() == blur[stage].size());
      const auto steps = static_cast<std::int64_t>(sharp[stage].size());
      const auto mixed_with = [&](std::size_t other) {
        return std::floor(0.3 * static_cast<double>(std::min(
                                    steps, static_cast<std::int64_t>(sharp[other].size()))));
      };
      for (std::int64_t s = 0; s < steps; ++s) {
        const auto &a = sharp[stage][static_cast<std::size_t>(s)],
                   &b = blur[stage][static_cast<std::size_t>(s)];
        REQUIRE(a.size() == b.size());
        const bool late = stage + 1 < sharp.size() && steps - 1 - s < mixed_with(stage + 1);
        const bool early = stage > 0 && s < mixed_with(stage - 1);
        for (std::size_t i = 0; i < a.size(); ++i) {
          ++seen[a[i]];
          --seen[b[i]];
          if (!late && !early) REQUIRE(a[i] == b[i]);
          if (!late) continue;
          // Its partner lies as far behind the switch as it lies before it.
          const auto& partner = sharp[stage + 1][static_cast<std::size_t>(steps - 1 - s)];
          if (i >= partner.size()) {
            REQUIRE(a[i] == b[i]);
            continue;
          }
          const bool other = b[i] != a[i];
          REQUIRE(b[i] == (other ? partner[i] : a[i]));
          REQUIRE(blur[stage + 1][static_cast<std::size_t>(steps - 1 - s)][i] ==
                  (other ? a[i] : partner[i]));
          const double k = static_cast<double>(mixed_with(stage + 1));
          const double chance = 0.5 - (static_cast<double>(steps - 1 - s) + 0.5) / (2 * k);
          expected += chance;
          variance += chance * (1 - chance);
          exchanged += other;
        }
      }
    }
    for (const auto& [example, more] : seen) REQUIRE(more == 0);
  }
  CHECK(expected > 200);
  CHECK(std::abs(exchanged - expected) < 4 * std::sqrt(variance));
}

TEST_CASE("both switches of a task may reach to its middle", "[property]") {
  for (const std::string seed : {"1", "2", "3"}) {
    const auto sharp = course({blurred("0", seed, "1")}, 0),
               blur = course({blurred("0.5", seed, "1")}, 0);
    std::map<std::int64_t, int> seen;
    bool odd = false;
    for (std::size_t stage = 0; stage < sharp.size(); ++stage) {
      odd = odd || sharp[stage].size() % 2 == 1;
      for (std::size_t s = 0; s < sharp[stage].size(); ++s) {
        for (const std::int64_t each : sharp[stage][s]) ++seen[each];
        for (const std::int64_t each : blur[stage][s]) --seen[each];
      }
    }
    CHECK(odd);
    for (const auto& [example, more] : seen) REQUIRE(more == 0);
  }
}

TEST_CASE("blurred switches are a run's own, whatever its company", "[property]") {
  const std::vector<Config> group = {blurred("0.25", "1"), blurred("0.25", "2"),
                                     blurred("0.25", "3")};
  for (std::size_t r = 0; r < group.size(); ++r) {
    CHECK(course(group, static_cast<std::int64_t>(r)) == course({group[r]}, 0));
  }
  CHECK(course({group[0]}, 0) != course({group[1]}, 0));
}

}  // namespace tandem::test::train_blur_property
