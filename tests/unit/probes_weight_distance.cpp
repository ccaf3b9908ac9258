// How far weights have gone, of moves that are written down.
#include "probes_fixture.h"

namespace tandem::test::probes_weight_distance_unit {

namespace {

// What is measured once the weights, and the mask where there is one, have become others.
Measurements after_move(const at::Tensor& before, const at::Tensor& after,
                        const std::vector<ReadoutRun>& runs, const at::Tensor& mask = {},
                        const at::Tensor& next_mask = {}) {
  const at::Tensor last = torch::ones({before.size(0), before.size(2), 1}, torch::kDouble);
  ChainNet first({before, last}, {mask, at::Tensor()});
  ChainNet then({after, 2 * last}, {next_mask, at::Tensor()});
  const auto probe = probes().at("probe", "weight_distance")(runs);
  probe->begin(first);
  first.layer(0).weight.value.detach().fill_(77);  // what it keeps is its own
  return measure(*probe, then, runs, torch::ones({before.size(0), 1, before.size(1)}));
}

const std::string kNet = "weights", kLayer = "weights/layer0";

}  // namespace

TEST_CASE("the distance of weights is Euclidean, per layer and of all layers", "[unit]") {
  const auto rows = after_move(doubles({1, 2, -1, 0, 0, 0}, {1, 2, 3}),
                               doubles({4, 2, -1, 0, 4, 0}, {1, 2, 3}), {carrying_run(1)});
  CHECK(value(rows, 0, kLayer, "weight_distance") == 5);
  CHECK(value(rows, 0, "weights/layer1", "weight_distance") == Approx(std::sqrt(3.0)));
  CHECK(value(rows, 0, kNet, "weight_distance") == Approx(std::sqrt(28.0)));
}

TEST_CASE("where nothing has moved the distance is 0", "[unit]") {
  ChainNet net({doubles({1, 2, 3, 4}, {1, 2, 2})}, {at::Tensor()});
  const auto rows = measure("weight_distance", net, {carrying_run(1)}, torch::ones({1, 1, 2}));
  CHECK(value(rows, 0, kLayer, "weight_distance") == 0);
  CHECK(value(rows, 0, kNet, "weight_distance") == 0);
}

TEST_CASE("replicas have starts of their own", "[unit]") {
  const std::vector<ReadoutRun> runs(2, carrying_run(1));
  const auto rows = after_move(doubles({1, 5}, {2, 1, 1}), doubles({3, 5}, {2, 1, 1}), runs);
  CHECK(value(rows, 0, kLayer, "weight_distance") == 2);
  CHECK(value(rows, 1, kLayer, "weight_distance") == 0);
}

// From (3,.) to (.,4): what is dormant is 0 to the sparse stream, and a weight to the full one.
TEST_CASE("a connection that moves counts with both of its weights", "[unit]") {
  const auto flags = [](int a, int b) { return torch::tensor({a, b}, torch::kByte).view({1, 2}); };
  const at::Tensor before = doubles({3, 7}, {1, 1, 2}), after = doubles({9, 4}, {1, 1, 2});
  const auto sparse =
      after_move(before, after, {carrying_run(0.5, false)}, flags(1, 0), flags(0, 1));
  CHECK(value(sparse, 0, kLayer, "weight_distance") == 5);
  const auto full = after_move(before, after, {carrying_run(0.5)}, flags(1, 0), flags(0, 1));
  CHECK(value(full, 0, kLayer, "weight_distance") == Approx(std::sqrt(45.0)));
}

}  // namespace tandem::test::probes_weight_distance_unit
