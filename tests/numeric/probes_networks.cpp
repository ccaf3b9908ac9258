// Probes on networks as they are trained: facts that tie the numbers of different families
// together, and that a run's numbers don't depend on its company.
#include "methods/method.h"
#include "unit/probes_fixture.h"

namespace tandem::test::probes_networks_numeric {

namespace {

ReadoutRun run_of(const Config& config) { return {config, policies_of(config)}; }

// A network whose linears all have connections, every second weight active.
std::unique_ptr<Model> network(const std::vector<ReadoutRun>& runs, std::int64_t features,
                               std::int64_t outputs) {
  std::vector<Config> configs;
  for (const ReadoutRun& run : runs) configs.push_back(run.config);
  ModelShape shape;
  shape.replicas = static_cast<std::int64_t>(runs.size());
  shape.features = features;
  shape.outputs = outputs;
  auto model = models().at("model", configs.front().text("model"))(configs, shape);
  for (Linear* layer : model->linears()) {
    const at::Tensor& weight = layer->weight.value;
    const at::Tensor mask =
        torch::arange(weight.numel() / weight.size(0)).remainder(2).to(torch::kByte);
    auto masked = std::make_unique<MaskedConnections>(
        layer->weight, mask.expand({weight.size(0), -1}).contiguous());
    masked->set_zero_dormant(!runs.front().policies.weights.dormant_carry_values());
    layer->connections = std::move(masked);
  }
  return model;
}

Settings language(const std::string& weights, const std::string& blocks) {
  return {{"data", "bytes"},  {"model", "transformer"}, {"context", "24"}, {"layers", "2"},
          {"width", "16"},    {"heads", "4"},           {"kv_heads", "2"}, {"block_size", "4"},
          {"blocks", blocks}, {"weights", weights},     {"density", "0.5"}};
}

at::Tensor tokens(std::int64_t replicas) {
  return torch::arange(replicas * 2 * 24).mul(37).remainder(256).view({replicas, 2, 24});
}

// Makes queries and keys large, so that attention is not flat.
void sharpen(Model& model) {
  at::NoGradGuard no_grad;
  for (Linear* layer : model.linears()) {
    const std::string& name = layer->name();
    if (name.ends_with(".q") || name.ends_with(".k")) layer->weight.value.mul_(4);
  }
}

}  // namespace

TEST_CASE("a language model: masses are ordered, and both levels have their gaps", "[numeric]") {
  const std::vector<ReadoutRun> runs = {run_of(Config::resolve(language("ssa", "2")))};
  const auto model = network(runs, 0, 0);
  sharpen(*model);
  const auto mass = measure("attention", *model, runs, tokens(1));
  const std::string layer = "attention/layer1.attention";
  const double kept = value(mass, 0, layer, "kept_mass");
  CHECK(kept > 0);
  CHECK(kept < 1);
  CHECK(value(mass, 0, layer, "oracle_mass") >= kept);
  CHECK(value(mass, 0, layer, "entropy") > 0);
  CHECK(value(mass, 0, layer, "entropy") <= std::log2(24.0));
  CHECK(value(mass, 0, layer, "gate") > 0);
  CHECK(value(mass, 0, layer, "gate") < 1);

  const auto gap = measure("gap", *model, runs, tokens(1));
  for (const char* level : {"attention", "weights"}) {
    CHECK(value(gap, 0, level, "gap") > 0);
    CHECK(value(gap, 0, level, "logit_gap") > 0);
    CHECK(value(gap, 0, level, "logit_kl_full_sparse") > 0);
  }
  CHECK(value(gap, 0, "weights/layer0.ff_down", "gap") > 0);
  CHECK(value(gap, 0, layer, "feature_norm") > 0);
  CHECK(has(measure("weights", *model, runs, tokens(1)), 0, "weights/layer0.q", "kept_mass"));
  CHECK_FALSE(has(measure("weights", *model, runs, tokens(1)), 0, "weights", "effective_density"));
  CHECK(has(measure("activations", *model, runs, tokens(1)), 0, "layer0.ff", "l0"));
  CHECK(has(measure("concentration", *model, runs, tokens(1)), 0, "weights", "accuracy_quarter"));
}

TEST_CASE("a budget that covers every key leaves attention without a gap", "[numeric]") {
  const std::vector<ReadoutRun> runs = {run_of(Config::resolve(language("set", "6")))};
  const auto model = network(runs, 0, 0);
  const auto gap = measure("gap", *model, runs, tokens(1));
  CHECK(value(gap, 0, "attention", "gap") == 0);
  CHECK(value(gap, 0, "attention", "logit_gap") == 0);
  CHECK(value(gap, 0, "attention", "top1_agreement") == 1);
  CHECK_FALSE(has(gap, 0, "weights", "gap"));
  CHECK(has(gap, 0, "weights", "feature_norm"));
}

// Prop. 4: |r_i| <= (mass that unit i drops) max |h|, so kept mass bounds the gap.
TEST_CASE("the gap of the first layer is bounded by the mass that it drops", "[numeric]") {
  const at::Tensor weight = torch::sin(torch::arange(1, 61, torch::kDouble)).view({1, 12, 5});
  const at::Tensor x = torch::cos(torch::arange(1, 85, torch::kDouble)).view({1, 7, 12});
  ChainNet net({weight}, {at::Tensor()});
  const std::vector<ReadoutRun> runs = {carrying_run(0.4)};
  const auto gap = measure("gap", net, runs, x);
  const auto mass = measure("weights", net, runs, x);
  const double full = torch::bmm(x, weight).square().sum().item<double>();
  const double dropped =
      (1 - value(mass, 0, "weights", "kept_mass")) * weight.abs().sum().item<double>();
  const double largest = x.abs().max().item<double>();
  CHECK(value(gap, 0, "weights", "gap") * full <= 7 * std::pow(dropped * largest, 2));
  CHECK(value(gap, 0, "weights", "gap") > 0);
}

TEST_CASE("a run's measurements don't depend on its company", "[numeric]") {
  const std::string method = GENERATE("alternate", "rigl", "dense");
  const auto config = [&](const char* seed, const char* density) {
    return run_of(Config::resolve({{"data", "fashion_mnist"},
                                   {"model", "mlp"},
                                   {"widths", "17,9"},
                                   {"weights", method},
                                   {"density", density},
                                   {"seed", seed}}));
  };
  const std::vector<ReadoutRun> alone = {config("2", "0.3")};
  const std::vector<ReadoutRun> company = {config("1", "0.5"), config("2", "0.3"),
                                           config("3", "0.9")};
  const auto one = network(alone, 13, 4), three = network(company, 13, 4);
  const at::Tensor x = torch::sin(torch::arange(0, 11 * 13, torch::kFloat)).view({1, 11, 13});
  for (const auto& [name, factory] : probes().all()) {
    const auto expected = measure(name, *one, alone, x);
    const auto rows = measure(name, *three, company, x.expand({3, 11, 13}).contiguous());
    INFO(method << " " << name);
    REQUIRE(rows[1].size() == expected[0].size());
    for (std::size_t i = 0; i < rows[1].size(); ++i) {
      INFO(rows[1][i].layer << " " << rows[1][i].name);
      CHECK(rows[1][i].layer == expected[0][i].layer);
      CHECK(rows[1][i].name == expected[0][i].name);
      CHECK(rows[1][i].value == expected[0][i].value);
    }
  }
}

}  // namespace tandem::test::probes_networks_numeric
