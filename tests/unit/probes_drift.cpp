// How far activations that are written down have moved.
#include "core/error.h"
#include "probes_fixture.h"

namespace tandem::test::probes_drift_unit {

namespace {

using Tasks = std::vector<std::vector<std::int64_t>>;

// One hidden layer of these weights [R,in,H], whose units are never negative here.
ChainNet net_of(const at::Tensor& hidden) {
  return ChainNet({hidden, torch::ones({hidden.size(0), hidden.size(2), 2}, torch::kDouble)},
                  {at::Tensor(), at::Tensor()});
}

Measurements look(Probe& probe, const at::Tensor& hidden, const at::Tensor& x, const Tasks& tasks,
                  std::int64_t task, bool ends, const std::vector<char>& wanted = {}) {
  ChainNet net = net_of(hidden);
  const std::vector<ReadoutRun> runs(static_cast<std::size_t>(x.size(0)), carrying_run(1));
  ProbeInput input = input_of(net, runs, x);
  input.tasks = [&tasks] { return tasks; };
  input.task = task;
  input.task_ends = ends;
  input.wanted = wanted;
  return probe.measure(input);
}

std::unique_ptr<Probe> drift(std::size_t replicas) {
  return probes().at("probe", "drift")(std::vector<ReadoutRun>(replicas, carrying_run(1)));
}

}  // namespace

TEST_CASE("a scaled representation is the same one, another is not", "[unit]") {
  // X = (1,-1)' and then Y = (2,-2)'; X = (1,0,-1)' and then Y = (1,-2,1)'. Inputs are these
  // beside each other, 5 and 10 higher, which centring takes away.
  const at::Tensor scaled = doubles({6, 0, 4, 0}, {1, 2, 2});
  const at::Tensor first = doubles({1, 0}, {1, 2, 1}), second = doubles({0, 1}, {1, 2, 1});
  auto probe = drift(1);
  CHECK(look(*probe, first, scaled, {{1, 1}}, 1, true).at(0).empty());
  auto rows = look(*probe, 2 * first, scaled, {{1, 1}}, 2, false);
  CHECK(value(rows, 0, "layer0", "task_cka") == Approx(1).epsilon(1e-12));
  CHECK(value(rows, 0, "layer0", "task_change") == Approx(1).epsilon(1e-12));
  CHECK(value(rows, 0, "", "task_cka") == value(rows, 0, "layer0", "task_cka"));

  const at::Tensor apart = doubles({6, 6, 5, 3, 4, 6}, {1, 3, 2});
  probe = drift(1);
  look(*probe, first, apart, {{1, 1, 1}}, 1, true);
  rows = look(*probe, second, apart, {{1, 1, 1}}, 2, true);
  CHECK(value(rows, 0, "layer0", "task_cka") == Approx(0).margin(1e-15));
  // (6,3,6) - (6,5,4) = (0,-2,2); 36 + 25 + 16 = 77.
  CHECK(value(rows, 0, "layer0", "task_change") == Approx(std::sqrt(8.0 / 77)).epsilon(1e-12));
}

TEST_CASE("as many units as there may be, and a rotation of them", "[unit]") {
  // Two examples of three units, which change places: the same up to a rotation.
  const at::Tensor x = doubles({1, 2, 3, 3, 1, 1}, {1, 2, 3});
  const at::Tensor eye = torch::eye(3, torch::kDouble).unsqueeze(0);
  const auto probe = drift(1);
  look(*probe, eye, x, {{1, 1}}, 1, true);
  const auto rows = look(*probe, eye.roll(1, 2), x, {{1, 1}}, 2, false);
  CHECK(value(rows, 0, "layer0", "task_cka") == Approx(1).epsilon(1e-12));
  // (3,1,2) - (1,2,3) and (1,3,1) - (3,1,1): 6 + 8 over 14 + 11.
  CHECK(value(rows, 0, "layer0", "task_change") == Approx(std::sqrt(14.0 / 25)).epsilon(1e-12));
}

TEST_CASE("each task is compared with its own end, and the mean is over tasks", "[unit]") {
  const at::Tensor x = doubles({6, 4, 8, 2}, {1, 4, 1});
  const auto weight = [](double w) { return doubles({w}, {1, 1, 1}); };
  const Tasks tasks = {{1, 1, 2, 2}};
  const auto straight = drift(1);
  look(*straight, weight(1), x, tasks, 1, true);
  CHECK(value(look(*straight, weight(3), x, tasks, 2, true), 0, "layer0", "task_change") ==
        Approx(2));
  // Of the first task 6 / 1, of the second 6 / 3.
  const auto resumed = drift(1);
  for (const auto& [name, values] : straight->save_tensors(0)) {
    resumed->load_tensor(0, name, values);
  }
  for (Probe* probe : {straight.get(), resumed.get()}) {
    const auto rows = look(*probe, weight(6), x, tasks, 3, false);
    CHECK(value(rows, 0, "layer0", "task_change") == Approx((5 + 1) / 2.0));
  }
  CHECK_THROWS_AS(resumed->load_tensor(0, "layer0", x), StoreError);
  CHECK_THROWS_AS(resumed->load_tensor(0, "layer0/now", x), StoreError);
}

TEST_CASE("a replica that is not looked at keeps what it had", "[unit]") {
  const at::Tensor x = doubles({6, 4, 6, 4}, {2, 2, 1});
  const Tasks tasks = {{1, 1}, {1, 1}};
  const auto probe = drift(2);
  const auto weights = [](double a, double b) { return doubles({a, b}, {2, 1, 1}); };
  look(*probe, weights(1, 1), x, tasks, 1, true, {1, 0});
  const auto rows = look(*probe, weights(2, 2), x, tasks, 2, false);
  CHECK(has(rows, 0, "layer0", "task_cka"));
  CHECK(rows.at(1).empty());
}

TEST_CASE("a task is seen through its own net, without units that this does not read", "[unit]") {
  // The first task reads unit 0 alone and the second unit 1, half of it; weights of 0 are no gate.
  const at::Tensor x = doubles({6, 4, 8, 2}, {1, 4, 1});
  const Tasks tasks = {{1, 1, 2, 2}};
  const auto probe = drift(1);
  const auto see = [&](double unit_0, double unit_1, std::int64_t task, bool ends) {
    ChainNet net({doubles({unit_0, unit_1}, {1, 1, 2}), doubles({3, 0, 0, 4}, {1, 2, 2})},
                 {at::Tensor(), at::Tensor()});
    const std::vector<ReadoutRun> runs = {carrying_run(1)};
    ProbeInput input = input_of(net, runs, x);
    input.tasks = [&tasks] { return tasks; };
    input.task = task;
    input.task_ends = ends;
    input.task_nets = true;
    input.read_as = [&net](std::int64_t of) {
      at::Tensor& value = net.layer(1).weight.value;
      const at::Tensor kept = value;
      value = of == 1 ? doubles({3, 0, 0, 0}, {1, 2, 2}) : doubles({0, 0, 0, 2}, {1, 2, 2});
      return std::shared_ptr<void>(nullptr, [&value, kept](void*) { value = kept; });
    };
    return probe->measure(input);
  };
  see(1, 1, 1, true);
  auto rows = see(1, 5, 2, true);
  CHECK(value(rows, 0, "layer0", "task_change") == 0);
  rows = see(2, 7, 3, false);
  // Of the first task (2 - 1) / 1, of the second (7 - 5) / 5.
  CHECK(value(rows, 0, "layer0", "task_change") == Approx((1 + 0.4) / 2));
}

TEST_CASE("a run of one task, and units that stand still, have no drift", "[unit]") {
  const at::Tensor x = doubles({6, 6}, {1, 2, 1}), weight = doubles({1}, {1, 1, 1});
  const auto alone = drift(1);
  look(*alone, weight, x, {}, 1, true);
  CHECK(look(*alone, weight, x, {}, 1, true).at(0).empty());
  const auto still = drift(1);
  look(*still, weight, x, {{1, 1}}, 1, true);
  const auto rows = look(*still, weight, x, {{1, 1}}, 2, true);
  CHECK_FALSE(has(rows, 0, "layer0", "task_cka"));
  CHECK(value(rows, 0, "layer0", "task_change") == 0);
}

}  // namespace tandem::test::probes_drift_unit
