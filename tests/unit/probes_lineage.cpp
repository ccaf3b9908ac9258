// Flips and distances of masks that are written down.
#include <map>

#include "core/error.h"
#include "probes_fixture.h"

namespace tandem::test::probes_lineage_unit {

namespace {

using Flags = std::vector<std::uint8_t>;
const std::string kLayer = "weights/layer0";
const std::vector<ReadoutRun> kRuns = {zero_dormant_run(0.5)};

ChainNet net_of(const Flags& flags) {
  const at::Tensor mask = torch::tensor(flags, torch::kByte).unsqueeze(0);
  return ChainNet({mask.to(torch::kDouble).view({1, 1, -1})}, {mask});
}

std::unique_ptr<Probe> probe_of(const Flags& start) {
  ChainNet net = net_of(start);
  auto probe = probes().at("probe", "lineage")(kRuns);
  probe->begin(net);
  return probe;
}

Measurements measure_at(Probe& probe, std::int64_t step, const Flags& flags, bool last = false) {
  ChainNet net = net_of(flags);
  ProbeInput input = input_of(net, kRuns, torch::zeros({1, 1, 1}, torch::kDouble));
  input.step = {step};
  input.last = last;
  return probe.measure(input);
}

std::map<std::int64_t, double> by_step(const Measurements& rows, const std::string& layer,
                                       const std::string& name) {
  std::map<std::int64_t, double> found;
  for (const Measurement& row : rows[0]) {
    if (row.layer == layer && row.name == name) found[row.step.value_or(-1)] = row.value;
  }
  return found;
}

}  // namespace

TEST_CASE("the start is at no distance from itself", "[unit]") {
  const auto probe = probe_of({1, 1, 0, 0});
  const auto rows = measure_at(*probe, 0, {1, 1, 0, 0});
  for (const char* name : {"flips", "flipped_share", "distance_start", "moved_start"}) {
    CHECK(value(rows, 0, kLayer, name) == 0);
  }
  for (const char* name : {"sad", "distance_last", "moved_last", "distance_end"}) {
    CHECK_FALSE(has(rows, 0, kLayer, name));
  }
}

TEST_CASE("flips count every change, distances only where it led", "[unit]") {
  const auto probe = probe_of({1, 1, 0, 0, 0});
  measure_at(*probe, 0, {1, 1, 0, 0, 0});
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0, 0}), active_bits({1, 0, 1, 0, 0}));
  measure_at(*probe, 10, {1, 0, 1, 0, 0});
  update(*probe, 0, "layer0", active_bits({1, 0, 1, 0, 0}), active_bits({1, 1, 0, 0, 0}));
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0, 0}), active_bits({1, 0, 0, 1, 0}));
  const auto rows = measure_at(*probe, 20, {1, 0, 0, 1, 0}, /*last=*/true);
  CHECK(value(rows, 0, kLayer, "flips") == Approx(6.0 / 5));
  CHECK(value(rows, 0, kLayer, "flipped_share") == Approx(3.0 / 5));
  CHECK(value(rows, 0, kLayer, "sad") == Approx(2.0 / 5));
  CHECK(value(rows, 0, kLayer, "distance_start") == Approx(2.0 / 3));
  CHECK(value(rows, 0, kLayer, "moved_start") == Approx(0.5));
  CHECK(value(rows, 0, kLayer, "distance_last") == Approx(2.0 / 3));
  CHECK(value(rows, 0, kLayer, "moved_last") == Approx(0.5));
  CHECK(value(rows, 0, "weights", "flips") == Approx(6.0 / 5));
  const std::map<std::int64_t, double> expected = {{0, 2.0 / 3}, {10, 2.0 / 3}, {20, 0}};
  CHECK(by_step(rows, kLayer, "distance_end") == expected);
  CHECK(by_step(rows, "weights", "distance_end") == expected);
  CHECK(by_step(rows, kLayer, "moved_end").at(0) == Approx(0.5));
}

TEST_CASE("a mask that shrinks: moved is relative to both masks", "[unit]") {
  const auto probe = probe_of({1, 1, 1, 0});
  const auto rows = measure_at(*probe, 5, {1, 0, 0, 0});
  CHECK(value(rows, 0, kLayer, "moved_start") == Approx(2.0 / 4));
  CHECK(value(rows, 0, kLayer, "distance_start") == Approx(2.0 / 3));
}

TEST_CASE("at most 64 masks are kept, evenly, and a resumed run writes the same", "[unit]") {
  const auto flags = [](int i) {
    Flags own(130, 0);
    for (int k = 0; k < 20; ++k) own[static_cast<std::size_t>((i + k) % 130)] = 1;
    return own;
  };
  auto straight = probe_of(flags(0));
  std::unique_ptr<Probe> resumed;
  for (int i = 0; i < 200; ++i) {
    if (i == 90) {
      resumed = probe_of(flags(50));
      for (const auto& [name, values] : straight->save(0)) resumed->load(0, name, values);
    }
    if (i > 0) {
      for (Probe* each : {straight.get(), resumed.get()}) {
        if (each != nullptr) {
          update(*each, 0, "layer0", active_bits(flags(i - 1)), active_bits(flags(i)));
        }
      }
    }
    measure_at(*straight, 10 * i, flags(i));
    if (resumed != nullptr) measure_at(*resumed, 10 * i, flags(i));
  }
  const auto rows = measure_at(*straight, 2000, flags(3), true);
  const auto again = measure_at(*resumed, 2000, flags(3), true);
  const auto kept = by_step(rows, kLayer, "distance_end");
  CHECK(kept.size() <= 64);
  CHECK(kept.size() >= 32);
  CHECK(kept.begin()->first == 0);
  CHECK(std::next(kept.begin())->first == 40);  // thinned twice: every fourth measure
  CHECK(kept.at(0) == Approx(1 - 17.0 / 23));
  REQUIRE(rows[0].size() == again[0].size());
  for (std::size_t i = 0; i < rows[0].size(); ++i) {
    CHECK(rows[0][i].name == again[0][i].name);
    CHECK(rows[0][i].step == again[0][i].step);
    CHECK(rows[0][i].value == again[0][i].value);
  }
  CHECK_THROWS_AS(resumed->load(0, "nonsense", {}), StoreError);
}

}  // namespace tandem::test::probes_lineage_unit
