// Random growth against its closed form, at the setting of a pilot: a 64-256-256-10 MLP at density
// .1 (ER over the two hidden layers), 23 updates, 100 steps apart and ending at 2340, drop fraction
// .3 with a cosine. SET drops what it wills; only growth decides what is ever seen.
#include <numbers>

#include "core/philox.h"
#include "topology/random_ranks.h"
#include "unit/probes_fixture.h"

namespace tandem::test::probes_coverage_numeric {

namespace {

constexpr int kUpdates = 23;

struct PilotLayer {
  std::int64_t inputs, outputs, active;
  std::int64_t positions() const { return inputs * outputs; }
};
const std::vector<PilotLayer> kPilot = {{64, 256, 3150}, {256, 256, 5041}};

std::int64_t moved(const PilotLayer& layer, int update) {
  const double fraction = 0.15 * (1 + std::cos(std::numbers::pi * 100 * update / 2340));
  return static_cast<std::int64_t>(fraction * static_cast<double>(layer.active));
}

double unseen(const PilotLayer& layer) {  // expected number of positions never active
  const auto dormant = static_cast<double>(layer.positions() - layer.active);
  double left = dormant;
  for (int u = 1; u <= kUpdates; ++u) {
    const auto grown = static_cast<double>(moved(layer, u));
    left *= 1 - grown / (dormant + grown);
  }
  return left;
}

std::vector<std::uint8_t> random_mask(const PilotLayer& layer, RandomStream stream) {
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(layer.positions()), 0);
  for (const std::int64_t i : random_ranks(stream, layer.positions(), layer.active)) {
    flags[static_cast<std::size_t>(i)] = 1;
  }
  return flags;
}

// Flips `count` of the positions that hold `from`, at random.
void flip(std::vector<std::uint8_t>& flags, std::uint8_t from, std::int64_t count,
          RandomStream stream) {
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    if (flags[i] == from) candidates.push_back(i);
  }
  for (const std::int64_t rank :
       random_ranks(stream, static_cast<std::int64_t>(candidates.size()), count)) {
    flags[candidates[static_cast<std::size_t>(rank)]] ^= 1;
  }
}

}  // namespace

TEST_CASE("coverage of random growth follows its closed form", "[numeric]") {
  const auto total = static_cast<double>(kPilot[0].positions() + kPilot[1].positions());
  const double predicted = 1 - (unseen(kPilot[0]) + unseen(kPilot[1])) / total;
  CHECK(predicted == Approx(0.36619).margin(5e-6));

  const auto probe = probes().at("probe", "topology")({zero_dormant_run(0.1)});
  std::vector<at::Tensor> weights, masks;
  for (std::size_t l = 0; l < kPilot.size(); ++l) {
    const PilotLayer& layer = kPilot[l];
    const std::uint64_t key = sub_key(7, l);
    auto flags = random_mask(layer, {sub_key(key, 0)});
    for (int u = 1; u <= kUpdates; ++u) {
      const auto before = flags;
      const auto draw = static_cast<std::uint64_t>(2 * u);
      flip(flags, 1, moved(layer, u), {sub_key(key, draw)});
      flip(flags, 0, moved(layer, u), {sub_key(key, draw + 1)});
      update(*probe, 0, "layer" + std::to_string(l), active_bits(before), active_bits(flags));
    }
    masks.push_back(torch::tensor(flags, torch::kByte).view({1, layer.inputs, layer.outputs}));
    weights.push_back(masks.back().to(torch::kDouble));
  }
  ChainNet net(weights, masks);
  const auto rows =
      measure(*probe, net, {zero_dormant_run(0.1)}, torch::zeros({1, 1, 64}, torch::kDouble));
  // The number ever seen has a standard deviation below sqrt(n / 4) = 143 of 81,920.
  CHECK(value(rows, 0, "weights", "coverage") == Approx(predicted).margin(4 * 143 / total));
  for (std::size_t l = 0; l < kPilot.size(); ++l) {
    const auto n = static_cast<double>(kPilot[l].positions());
    CHECK(value(rows, 0, "weights/layer" + std::to_string(l), "coverage") ==
          Approx(1 - unseen(kPilot[l]) / n).margin(2 / std::sqrt(n)));
  }
}

}  // namespace tandem::test::probes_coverage_numeric
