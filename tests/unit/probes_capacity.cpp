// Masks of tasks, and nets of tasks, that are written down.
#include "probes_fixture.h"

namespace tandem::test::probes_capacity_unit {

namespace {

using Flags = std::vector<std::uint8_t>;

const std::vector<ReadoutRun> kRuns = {zero_dormant_run(0.5)};

std::unique_ptr<Probe> capacity() { return probes().at("probe", "capacity")(kRuns); }

// Masks [1,in*out] of a chain of layers with one input each.
Measurements look(Probe& probe, const std::vector<Flags>& flags, bool ends,
                  const std::vector<ReadoutRun>& runs = kRuns) {
  std::vector<at::Tensor> masks, weights;
  for (const Flags& own : flags) {
    masks.push_back(torch::tensor(own, torch::kByte).unsqueeze(0));
    weights.push_back(masks.back().to(torch::kDouble).view({1, 1, -1}));
  }
  ChainNet net(weights, masks);
  ProbeInput input = input_of(net, runs, torch::zeros({1, 1, 1}, torch::kDouble));
  input.tasks = [] { return std::vector<std::vector<std::int64_t>>{{1}}; };
  input.task_ends = ends;
  return probe.measure(input);
}

// The net of a task has these values in place of the weights'.
class OtherValues {
 public:
  OtherValues(ChainNet& net, const std::vector<at::Tensor>& values) : net_(net) {
    for (std::size_t l = 0; l < values.size(); ++l) {
      kept_.push_back(net.layer(l).weight.value);
      net.layer(l).weight.value = values[l];
    }
  }
  ~OtherValues() {
    for (std::size_t l = 0; l < kept_.size(); ++l) net_.layer(l).weight.value = kept_[l];
  }
  OtherValues(const OtherValues&) = delete;
  OtherValues& operator=(const OtherValues&) = delete;

 private:
  ChainNet& net_;
  std::vector<at::Tensor> kept_;
};

Measurements of_nets(ChainNet& net, const std::vector<std::vector<at::Tensor>>& by_task,
                     const std::vector<std::vector<std::int64_t>>& task_of_output = {}) {
  const std::vector<ReadoutRun> dense = {carrying_run(1)};
  const std::int64_t inputs = net.layer(0).inputs();
  ProbeInput input = input_of(net, dense, torch::zeros({1, 1, inputs}, torch::kDouble));
  input.tasks = [] { return std::vector<std::vector<std::int64_t>>{{1}}; };
  input.task = static_cast<std::int64_t>(by_task.size());
  input.task_nets = true;
  input.task_of_output = task_of_output;
  input.read_as = [&](std::int64_t task) {
    return std::make_shared<OtherValues>(net, by_task.at(static_cast<std::size_t>(task - 1)));
  };
  return probes().at("probe", "capacity")(dense)->measure(input);
}

}  // namespace

TEST_CASE("masks of two tasks that share one of two positions", "[unit]") {
  const auto probe = capacity();
  CHECK(look(*probe, {{1, 1, 0, 0}}, true).at(0).empty());
  const auto rows = look(*probe, {{1, 0, 1, 0}}, false);
  for (const char* layer : {"weights/layer0", "weights"}) {
    CHECK(value(rows, 0, layer, "mask_iou") == Approx(1.0 / 3));
    CHECK(value(rows, 0, layer, "mask_iou_chance") == Approx(1.0 / 3));
    CHECK(value(rows, 0, layer, "mask_turnover") == 0.5);
    CHECK(value(rows, 0, layer, "mask_exploration") == 0.75);
  }
}

TEST_CASE("what is compared is the last end of a task, what is explored are all", "[unit]") {
  const auto straight = capacity();
  look(*straight, {{1, 1, 0, 0, 0, 0, 0, 0, 0, 0}}, true);
  look(*straight, {{0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, false);  // within a task: it leaves no trace
  look(*straight, {{0, 1, 1, 0, 0, 0, 0, 0, 0, 0}}, true);
  const auto resumed = capacity();
  for (const auto& [name, values] : straight->save(0)) resumed->load(0, name, values);
  for (Probe* probe : {straight.get(), resumed.get()}) {
    const auto rows = look(*probe, {{0, 1, 0, 1, 0, 0, 0, 0, 0, 0}}, false);
    CHECK(value(rows, 0, "weights/layer0", "mask_iou") == Approx(1.0 / 3));
    // Densities of .2: .04 / .36 = .2 / (2 - .2).
    CHECK(value(rows, 0, "weights/layer0", "mask_iou_chance") == Approx(0.2 / 1.8));
    CHECK(value(rows, 0, "weights/layer0", "mask_exploration") == Approx(0.4));
  }
}

TEST_CASE("densities that change, and layers that count by their sizes", "[unit]") {
  const auto probe = capacity();
  look(*probe, {{1, 1, 1, 0}, {1, 0, 0, 0, 0, 0, 0, 0}}, true);
  const auto rows = look(*probe, {{1, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0}}, true);
  CHECK(value(rows, 0, "weights/layer0", "mask_iou") == Approx(1.0 / 3));
  // .75 .25 / (.75 + .25 - .1875).
  CHECK(value(rows, 0, "weights/layer0", "mask_iou_chance") == Approx(0.1875 / 0.8125));
  CHECK(value(rows, 0, "weights/layer0", "mask_turnover") == Approx(2.0 / 3));
  CHECK(value(rows, 0, "weights/layer1", "mask_iou") == 0);
  CHECK(value(rows, 0, "weights", "mask_iou") == Approx(1.0 / 5));
  CHECK(value(rows, 0, "weights", "mask_turnover") == Approx(3.0 / 4));
  CHECK(value(rows, 0, "weights", "mask_exploration") == Approx(5.0 / 12));
  // 4 .1875 + 8 / 64 of 4 .8125 + 8 (2 / 8 - 1 / 64).
  CHECK(value(rows, 0, "weights", "mask_iou_chance") == Approx(0.875 / 5.125));
}

TEST_CASE("a run without a mask has none to compare", "[unit]") {
  ReadoutRun dense = carrying_run(1);
  dense.policies.weights.schedule.kind = Schedule::Kind::kFull;
  const auto probe = probes().at("probe", "capacity")({dense});
  look(*probe, {{1, 1}}, true, {dense});
  CHECK(look(*probe, {{1, 1}}, true, {dense}).at(0).empty());
}

TEST_CASE("capacity of tasks with {1,2} and {2,3} of four weights", "[unit]") {
  ChainNet net({doubles({5, 6, 7, 8}, {1, 1, 4})}, {at::Tensor()});
  const auto first = doubles({5, 6, 0, 0}, {1, 1, 4}), second = doubles({0, 6, 7, 0}, {1, 1, 4});
  const auto rows = of_nets(net, {{first}, {second}});
  for (const char* layer : {"weights/layer0", "weights"}) {
    CHECK(value(rows, 0, layer, "capacity_new") == 0.25);
    CHECK(value(rows, 0, layer, "capacity_reused") == 0.5);
    CHECK(value(rows, 0, layer, "capacity_cumulative") == 0.75);
  }
  const auto of_first = of_nets(net, {{first}});
  CHECK(value(of_first, 0, "weights", "capacity_new") == 0.5);
  CHECK(value(of_first, 0, "weights", "capacity_reused") == 0);
  CHECK(value(of_first, 0, "weights", "capacity_cumulative") == 0.5);
}

TEST_CASE("gates that are not quite shut, units that lead nowhere, heads of others", "[unit]") {
  // Two inputs, two units, an output of each task. The gate of unit 1 is all but shut in task 1,
  // and that of unit 0 in task 2.
  const at::Tensor hidden = torch::ones({1, 2, 2}, torch::kDouble);
  ChainNet net({hidden, torch::ones({1, 2, 2}, torch::kDouble)}, {at::Tensor(), at::Tensor()});
  const auto gated = [](double a, double b) { return doubles({a, a, b, b}, {1, 2, 2}); };
  const auto rows =
      of_nets(net, {{hidden, gated(0.999, 0.01)}, {hidden, gated(1e-4, 0.9)}}, {{1, 2}});
  CHECK(value(rows, 0, "weights/layer0", "capacity_new") == 0.5);
  CHECK(value(rows, 0, "weights/layer0", "capacity_reused") == 0);
  CHECK(value(rows, 0, "weights/layer0", "capacity_cumulative") == 1);
  CHECK(value(rows, 0, "weights/layer1", "capacity_new") == 0.25);
  CHECK(value(rows, 0, "weights/layer1", "capacity_cumulative") == 0.5);
  CHECK(value(rows, 0, "weights", "capacity_cumulative") == 0.75);
}

}  // namespace tandem::test::probes_capacity_unit
