// SpaceNet on a net that is small enough to be written down: 2 inputs, hidden layers of 3 and 2
// units, and two tasks of one output each.
#include <catch2/catch.hpp>

#include "continual/strategy.h"
#include "core/error.h"
#include "data/tensor.h"

namespace tandem::test::continual_spacenet_unit {
namespace {

// Gradients that a test says.
class Said final : public StepGradients {
 public:
  explicit Said(std::vector<at::Tensor> gradients) : gradients_(std::move(gradients)) {}
  std::vector<at::Tensor> masked() const override { return gradients_; }
  void replace(const std::vector<at::Tensor>& gradients) override { gradients_ = gradients; }
  at::Tensor add_pull(std::size_t, const at::Tensor&, const at::Tensor&,
                      const at::Tensor&) override {
    FAIL("nothing is added");
    return {};
  }
  // A plain step moves nothing without a gradient.
  void change_only(std::size_t parameter, const at::Tensor& which) override {
    at::Tensor& own = gradients_[parameter];
    if (own.defined()) own = own * which.ne(0).view(own.sizes());
  }
  void follow(std::size_t, const at::Tensor&, const at::Tensor&) override {
    FAIL("nothing follows the step");
  }
  std::pair<std::vector<at::Tensor>, at::Tensor> of_replay(std::size_t) override {
    FAIL("nothing is replayed");
    return {};
  }
  const at::Tensor& at(std::size_t parameter) const { return gradients_[parameter]; }

 private:
  std::vector<at::Tensor> gradients_;
};

at::Tensor numbers(std::vector<double> values) { return torch::tensor(values, torch::kFloat64); }

struct Small {
  std::vector<Parameter> all;  // weight, bias, weight, ...
  InitialWeights initial[3];
  std::unique_ptr<Strategy> strategy;

  explicit Small(const std::string& share, const std::string& within = "0") {
    const std::int64_t sizes[] = {2, 3, 2, 2};
    StrategyView view;
    view.configs = {Config::resolve({{"strategy", "spacenet"},
                                     {"scenario", "class_il"},
                                     {"reserved_units", share},
                                     {"task_units", within}})};
    view.options = torch::dtype(torch::kFloat64);
    TaskSequence sequence;
    sequence.outputs = 2;
    sequence.tasks.resize(2);
    sequence.task_outputs = {{0, 1}, {1, 2}};
    sequence.masked_readout = true;
    view.sequences = {sequence};
    for (std::size_t l = 0; l < 3; ++l) {
      const std::int64_t in = sizes[l], out = sizes[l + 1];
      Parameter weight, bias;
      weight.name = "layer" + std::to_string(l) + ".weight";
      weight.value = torch::arange(1, in * out + 1, torch::kFloat64).view({1, in, out});
      bias.name = "layer" + std::to_string(l) + ".bias";
      bias.value = torch::full({1, out}, 0.5, torch::kFloat64);
      all.push_back(weight);
      all.push_back(bias);
      initial[l] = {InitialWeights::Law::kUniform, 1, in, out, {{l + 7}}};
    }
    for (Parameter& each : all) view.parameters.push_back(&each);
    for (std::size_t l = 0; l < 3; ++l) {
      view.layers.push_back({2 * l, static_cast<std::int64_t>(2 * l + 1), sizes[l], sizes[l + 1],
                             l == 2, &initial[l]});
    }
    strategy = strategies().at("strategy", "spacenet")(std::move(view));
  }

  // A plain step of rate 1: what it makes of the gradients.
  Said step(const std::vector<at::Tensor>& gradients) {
    const at::NoGradGuard no_grad;
    strategy->enter({});
    during = all[4].flat().clone();
    Said said(gradients);
    strategy->gradient(said);
    for (std::size_t p = 0; p < all.size(); ++p) all[p].flat().sub_(said.at(p));
    strategy->after_update();
    return said;
  }
  at::Tensor during;  // the last layer's weights as the step's passes have them

  at::Tensor owner(std::size_t p) { return all[p].slots.at("spacenet.owner").values; }
};

}  // namespace

TEST_CASE("a task reserves its most important units and what leads into them", "[unit]") {
  Small net("0.5");  // llround(1.5) of 3 units, and 1 of 2
  const StrategyNeeds needs = net.strategy->needs();
  CHECK(needs.holds_weights);
  CHECK(needs.gates_units);
  CHECK(needs.replaces_values);
  CHECK(needs.read == StrategyNeeds::Read::kAsItIs);
  net.strategy->before_task(1, false);
  // The second task's output waits.
  CHECK(torch::equal(net.all[4].flat(), numbers({1, 0, 3, 0})));
  CHECK(torch::equal(net.owner(4), numbers({0, -1, 0, -1})));
  CHECK(torch::equal(net.all[0].flat(), numbers({1, 2, 3, 4, 5, 6})));

  // |g dw| of a plain step of rate 1 is g^2. Units of the first hidden layer earn 4, 5 and 1, of
  // which 0, 1 and 1 come from the first input; those of the second 1 and 2.
  const std::vector<at::Tensor> gradients = {numbers({0, 1, 1, 2, -2, 0}), numbers({1, 1, 1}),
                                             numbers({1, 0, 0, -1, 0, 1}), numbers({1, 1}),
                                             numbers({1, 1, 1, 1}),        numbers({1, 1})};
  const Said first = net.step(gradients);
  CHECK(torch::equal(first.at(0), gradients[0]));
  CHECK(torch::equal(first.at(4), numbers({1, 0, 1, 0})));
  CHECK(torch::equal(first.at(5), numbers({1, 0})));
  CHECK(torch::equal(net.all[0].flat(), numbers({1, 1, 2, 2, 7, 6})));
  CHECK(
      torch::equal(net.all[0].slots.at("spacenet.importance").values, numbers({0, 1, 1, 4, 4, 0})));

  net.strategy->after_task(1, {{}});
  // Units 0 and 1 of the first layer, unit 1 of the second.
  CHECK(torch::equal(net.owner(0), numbers({1, 1, -1, 1, 1, -1})));
  CHECK(torch::equal(net.all[0].flat(), numbers({1, 1, 2, 2, 7, 6})));
  CHECK(torch::equal(net.owner(1), numbers({1, 1, 0})));
  // Into unit 1: 2 + 0, 4 + 1 and 6 - 1, of which the last comes from a unit that is free.
  CHECK(torch::equal(net.all[2].flat(), numbers({0, 2, 3, 5, 5, 0})));
  CHECK(torch::equal(net.owner(2), numbers({-1, 1, -1, 1, -1, -1})));
  CHECK(torch::equal(net.owner(3), numbers({0, 1})));
  // The task's output reads unit 1 alone.
  CHECK(torch::equal(net.all[4].flat(), numbers({0, 0, 2, 0})));
  CHECK(net.owner(4)[2].item<double>() == 1);
  CHECK(torch::equal(net.owner(5), numbers({1, 0})));

  net.strategy->before_task(2, false);
  const auto begun = [&net](std::size_t l, std::int64_t position) {
    return net.initial[l].at(0, position);
  };
  CHECK(torch::equal(net.all[0].flat(), numbers({1, 1, begun(0, 2), 2, 7, begun(0, 5)})));
  CHECK(torch::equal(net.all[2].flat(), numbers({begun(1, 0), 2, begun(1, 2), 5, begun(1, 4), 0})));
  CHECK(torch::equal(net.all[4].flat(), numbers({0, begun(2, 1), 2, begun(2, 3)})));
  CHECK(net.all[0].slots.at("spacenet.importance").values.abs().max().item<double>() == 0);
  const at::Tensor biases = net.all[1].flat().clone();

  const Said second = net.step({torch::ones({6}, torch::kFloat64), numbers({1, 1, 1}),
                                torch::ones({6}, torch::kFloat64), numbers({1, 1}),
                                torch::ones({4}, torch::kFloat64), numbers({1, 1})});
  // In the passes the first task's output is its bias.
  CHECK(torch::equal(net.during, numbers({0, begun(2, 1), 0, begun(2, 3)})));
  CHECK(torch::equal(second.at(0), numbers({0, 0, 1, 0, 0, 1})));
  CHECK(torch::equal(second.at(1), numbers({0, 0, 1})));
  CHECK(torch::equal(second.at(2), numbers({1, 0, 1, 0, 1, 0})));
  CHECK(torch::equal(second.at(3), numbers({1, 0})));
  CHECK(torch::equal(second.at(4), numbers({0, 1, 0, 1})));
  CHECK(torch::equal(second.at(5), numbers({0, 1})));
  CHECK(torch::equal(net.all[4].flat(), numbers({0, begun(2, 1) - 1, 2, begun(2, 3) - 1})));
  CHECK(torch::equal(net.all[1].flat(), biases - numbers({0, 0, 1})));

  // What an update would let into a reserved unit is taken back; what leads to a free one is not.
  net.all[2].flat()[5] = 9;
  net.all[2].flat()[4] = 8;
  net.strategy->topology_moved({1});
  CHECK(net.all[2].flat()[5].item<double>() == 0);
  CHECK(net.all[2].flat()[4].item<double>() == 8);

  // The last task is left one unit of the first layer, and takes it, with what it reads of both.
  net.strategy->after_task(2, {{}});
  CHECK(torch::equal(net.owner(0), numbers({1, 1, 2, 1, 1, 2})));
  CHECK(torch::equal(net.owner(1), numbers({1, 1, 2})));
  CHECK(torch::equal(net.owner(3), numbers({2, 1})));
  const at::Tensor into = net.owner(2).view({3, 2});
  CHECK(torch::equal(into.select(1, 0), numbers({2, 2, 2})));
  CHECK(torch::equal(net.owner(4), numbers({-1, 2, 1, 2})));
}

TEST_CASE("a task that trains within units drawn for it reads no others", "[unit]") {
  Small net("0.3", "0.3");  // one of 3 units, and one of 2
  net.strategy->before_task(1, false);
  const auto units = [&net](std::size_t l) {
    for (const auto& [name, values] : net.strategy->save(0)) {
      if (name == "spacenet.units" + std::to_string(l)) return values.clone();
    }
    FAIL("no units of layer " << l);
    return at::Tensor();
  };
  std::vector<std::int64_t> own;
  for (const std::size_t l : {0, 1}) {
    const at::Tensor states = units(l);
    CHECK(states.eq(0).sum().item<std::int64_t>() == 1);
    CHECK(states.eq(-1).sum().item<std::int64_t>() == states.numel() - 1);
    own.push_back(states.argmax().item<std::int64_t>());
  }
  // One way leads through the net; all else waits at zero, in the topology.
  const auto alone = [](std::int64_t n, std::int64_t i, double value, double others) {
    at::Tensor all = torch::full({n}, others, torch::kFloat64);
    all[i] = value;
    return all;
  };
  const std::int64_t between = 2 * own[0] + own[1], out = 2 * own[1];
  CHECK(torch::equal(net.owner(2), alone(6, between, 0, -1)));
  CHECK(torch::equal(net.all[2].flat(), alone(6, between, static_cast<double>(between + 1), 0)));
  CHECK(torch::equal(net.owner(4), alone(4, out, 0, -1)));
  CHECK(torch::equal(net.all[4].flat(), alone(4, out, static_cast<double>(out + 1), 0)));
  std::vector<at::Tensor> gradients;
  for (const Parameter& each : net.all) gradients.push_back(torch::ones_like(each.flat()));
  const Said said = net.step(gradients);
  CHECK(torch::equal(said.at(1), alone(3, own[0], 1, 0)));
  CHECK(torch::equal(said.at(2), alone(6, between, 1, 0)));
  CHECK(torch::equal(said.at(3), alone(2, own[1], 1, 0)));
  CHECK(torch::equal(said.at(4), alone(4, out, 1, 0)));
  net.strategy->after_task(1, {{}});
  CHECK(torch::equal(units(0), alone(3, own[0], 1, -1)));
  CHECK(net.owner(2)[between].item<double>() == 1);

  // What comes from the first task's unit is not read, and nothing is kept for it.
  net.strategy->before_task(2, false);
  const std::int64_t other = units(0).eq(0).to(torch::kInt64).argmax().item<std::int64_t>();
  CHECK(other != own[0]);
  CHECK(units(1)[1 - own[1]].item<double>() == 0);
  const std::int64_t unread = 2 * own[0] + 1 - own[1], read = 2 * other + 1 - own[1];
  CHECK(net.owner(2)[unread].item<double>() == 0);
  CHECK(net.all[2].flat()[unread].item<double>() == 0);
  CHECK(net.all[2].flat()[read].item<double>() == net.initial[1].at(0, read));
  const Said second = net.step(gradients);
  CHECK(second.at(2).sum().item<double>() == 1);
  CHECK(second.at(2)[read].item<double>() == 1);
}

TEST_CASE("what is reserved goes through a checkpoint", "[unit]") {
  Small net("0");  // of 3 and 2 units half
  net.strategy->before_task(1, false);
  std::vector<at::Tensor> gradients;
  for (const Parameter& each : net.all) gradients.push_back(torch::ones_like(each.flat()));
  net.step(gradients);
  net.strategy->after_task(1, {{}});
  Small other("0");
  other.strategy->before_task(2, /*resumed=*/true);
  std::map<std::string, std::int64_t> count;
  for (const auto& [name, values] : net.strategy->save(0)) {
    other.strategy->load(0, name, values);
    count[name] = values.ne(0).sum().item<std::int64_t>();
  }
  CHECK(count.at("spacenet.units0") == 2);
  CHECK(count.at("spacenet.units1") == 1);
  for (const auto& [name, values] : other.strategy->save(0)) {
    CHECK(values.ne(0).sum().item<std::int64_t>() == count.at(name));
  }
  CHECK_THROWS_AS(other.strategy->load(0, "spacenet.units0", numbers({1})), StoreError);
  CHECK_THROWS_AS(other.strategy->load(0, "spacenet.units2", numbers({1})), StoreError);
}

}  // namespace tandem::test::continual_spacenet_unit
