// Masks of read-outs, and that a model looks as before when a read-out is over.
#include "core/error.h"
#include "listed_connections.h"
#include "methods/method.h"
#include "probes/probe.h"
#include "probes_fixture.h"
#include "readout/readout.h"

namespace tandem::test::readout_masks_unit {

namespace {

std::vector<std::int64_t> chosen(const at::Tensor& mask, std::int64_t replica) {
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < mask.size(1); ++i) {
    if (mask[replica][i].item<std::uint8_t>() != 0) positions.push_back(i);
  }
  return positions;
}

using Positions = std::vector<std::int64_t>;

// What a read-out multiplies, of a net of one layer.
at::Tensor effective(Model& model, const SparseReadout& readout, std::int64_t inputs) {
  Context context;
  context.plans.weights.wanted = readout.wanted();
  const auto replicas = static_cast<std::int64_t>(model.linears()[0]->weight.replicas());
  return model.forward(torch::eye(inputs, torch::kDouble).expand({replicas, inputs, inputs}),
                       context);
}

// One layer without a bias whose connections are listed.
class ListedNet : public Model {
 public:
  ListedNet(std::int64_t inputs, std::int64_t outputs, std::vector<Positions> listed)
      : layer_("layer0", inputs, outputs, false) {
    auto own = std::make_unique<ListedConnections>(layer_.weight, inputs, outputs, listed);
    listed_ = own.get();
    layer_.connections = std::move(own);
  }
  at::Tensor forward(const at::Tensor& x, Context& context) override {
    return layer_.forward(x, context);
  }
  std::vector<Linear*> linears() override { return {&layer_}; }
  std::vector<Parameter*> parameters() override { return {&layer_.weight}; }
  std::int64_t sites(Level level) const override { return level == Level::kWeights ? 1 : 0; }
  Linear& layer() { return layer_; }
  ListedConnections& listed() { return *listed_; }

 private:
  Linear layer_;
  ListedConnections* listed_;
};

// Replicas [[1,0],[2,3]] and [[0,4],[0,0]].
void fill(ListedNet& net) {
  net.layer().weight.flat().copy_(torch::tensor({1., 2., 3., 4.}, torch::kDouble));
}
const std::vector<Positions> kListed = {{0, 2, 3}, {1}};
const std::vector<Positions> kOne = {{5}};

ReadoutRun set_run(const Settings& said) {
  Settings all = {{"data", "fashion_mnist"}, {"model", "mlp"}, {"weights", "set"}};
  all.insert(said.begin(), said.end());
  ReadoutRun run = zero_dormant_run(1e-9);
  run.config = Config::resolve(all);
  return run;
}

}  // namespace

TEST_CASE("every family of probes is registered and says what it logs", "[unit]") {
  const std::vector<std::pair<std::string, std::string>> by_default = {
      {"activations", "live_l0"},      {"attention", "oracle_mass"}, {"concentration", "accuracy_"},
      {"gap", "feature_norm"},         {"inequality", "gini"},       {"topology", "survival"},
      {"weights", "effective_density"}};
  const std::vector<std::pair<std::string, std::string>> by_name = {
      {"attention_gradient", "dropped_gradient"},
      {"blind_spot", "missed_energy"},
      {"lineage", "distance_start"},
      {"regrowth", "growth_precision"},
      {"representation", "activation_rank"},
      {"spectra", "spectral_gap"},
      {"tasks", "task_overlap"},
      {"drift", "task_cka"},
      {"interference", "task_conflict"},
      {"capacity", "mask_turnover"},
      {"calibration", "recency_bias"},
      {"recall", "recall_sparse_D"},
      {"barrier", "loss_barrier"},
      {"linear_probe", "head_accuracy"},
      {"weight_distance", "weight_distance"},
      {"twin", "twin_overlap"}};
  const auto check = [](const std::string& name, const std::string& logged, bool usual) {
    INFO(name);
    CHECK(part("probe", name).summary.find(logged) != std::string::npos);
    CHECK(probes().at("probe", name)({carrying_run(0.5)})->by_default() == usual);
  };
  for (const auto& [name, logged] : by_default) check(name, logged, true);
  for (const auto& [name, logged] : by_name) check(name, logged, false);
  CHECK(probes().all().size() == by_default.size() + by_name.size());
  CHECK_THROWS_AS(probes().at("probe", "gaps"), ConfigError);
}

TEST_CASE("option probes: default, all, or names", "[unit]") {
  const auto names = [](const std::string& said) {
    std::vector<std::string> chosen;
    for (const auto& [name, probe] : chosen_probes({set_run({{"probes", said}})})) {
      chosen.push_back(name);
    }
    return chosen;
  };
  CHECK(names("default").size() == 7);
  CHECK(names("all").size() == probes().all().size());
  CHECK(names("weights, spectra") == std::vector<std::string>{"spectra", "weights"});
  CHECK(names("default,spectra,weights").size() == 8);
  CHECK(names("all,weights").size() == probes().all().size());
  CHECK_THROWS_AS(names("weights,gaps"), ConfigError);
  CHECK_THROWS_AS(names(""), ConfigError);
  // Old ids stay.
  CHECK(set_run({}).config.id() == set_run({{"probes", "default"}}).config.id());
  CHECK(set_run({}).config.canonical().find("probe") == std::string::npos);
  const ReadoutRun twin = set_run({{"twin", "dense.safetensors"}});
  CHECK(chosen_probes({twin}).size() == 8);
}

TEST_CASE("a read-out mask takes the largest magnitudes, ties to the smaller index", "[unit]") {
  ChainNet net({doubles({1, -3, 3, 2, 0, 3, 5, -4, 4, 1, 1, 1}, {2, 2, 3})}, {at::Tensor()});
  const at::Tensor mask = ranked_mask(magnitudes(net.layer(0)), {}, {2, 3});
  CHECK(mask.scalar_type() == torch::kByte);
  CHECK(chosen(mask, 0) == Positions{1, 2});
  CHECK(chosen(mask, 1) == Positions{0, 1, 2});
}

TEST_CASE("ranked active first, a dormant weight comes after every active one", "[unit]") {
  ChainNet net({doubles({9, 1, 8, 2, 7, 3}, {1, 2, 3})},
               {torch::tensor({0, 1, 0, 1, 0, 1}).view({1, 6})});
  CHECK(chosen(ranked_mask(magnitudes(net.layer(0)), current_flags(net.layer(0)), {2}), 0) ==
        Positions{3, 5});
  CHECK(chosen(ranked_mask(magnitudes(net.layer(0)), current_flags(net.layer(0)), {3}), 0) ==
        Positions{1, 3, 5});
  CHECK(chosen(ranked_mask(magnitudes(net.layer(0)), current_flags(net.layer(0)), {4}), 0) ==
        Positions{0, 1, 3, 5});
  CHECK(chosen(ranked_mask(magnitudes(net.layer(0)), {}, {2}), 0) == Positions{0, 2});
}

TEST_CASE("a sparse read-out masks each replica at its own density and restores", "[unit]") {
  const at::Tensor w0 = doubles({1, 2, 3, 4, 4, 3, 2, 1}, {2, 2, 2});
  const at::Tensor w1 = doubles({5, 6, 7, 8, 5, 6, 7, 8}, {2, 2, 2});
  ChainNet net({w0, w1}, {at::Tensor(), at::Tensor()});
  net.layer(1).connections.reset();
  net.layer(1).weight.connections = nullptr;
  const std::vector<ReadoutRun> runs = {carrying_run(0.1), carrying_run(0.1)};
  const void* storage = net.layer(0).weight.value.data_ptr();
  const at::Tensor x = doubles({1, 1, 1, 1}, {2, 1, 2});
  Context context;
  {
    const SparseReadout readout(net, runs, {0.25, 0.75});
    const at::Tensor expected = doubles({0, 0, 0, 4, 4, 3, 2, 0}, {2, 2, 2});
    CHECK(net.layer(0).weight.value.equal(expected));
    CHECK(net.layer(1).weight.value.equal(w1));
    CHECK(net.forward(x, context).equal(torch::bmm(torch::relu(torch::bmm(x, expected)), w1)));
  }
  CHECK(net.layer(0).weight.value.data_ptr() == storage);
  CHECK(net.layer(0).weight.value.requires_grad());
  CHECK(net.layer(0).weight.value.equal(w0));
}

TEST_CASE("a read-out that a budget can't serve leaves the model alone", "[unit]") {
  const at::Tensor weight = torch::ones({1, 2, 2}, torch::kDouble);
  ChainNet net({weight}, {at::Tensor()});
  CHECK_THROWS_AS(SparseReadout(net, {carrying_run(0.5)}, {0.0}), ConfigError);
  CHECK(net.layer(0).weight.value.equal(weight));
}

TEST_CASE("a net within its budget keeps its own spread over layers", "[unit]") {
  // Six of eight active, unevenly; a uniform budget would take three and three.
  const at::Tensor w0 = doubles({1, 2, 3, 4}, {1, 2, 2}), w1 = doubles({5, 0, 6, 0}, {1, 2, 2});
  ChainNet net({w0, w1}, {at::Tensor(), torch::tensor({1, 0, 1, 0}).view({1, 4})});
  {
    const SparseReadout readout(net, {zero_dormant_run(0.75)}, {0.75});
    CHECK(net.layer(0).weight.value.equal(w0));
    CHECK(net.layer(1).weight.value.equal(w1));
  }
  const SparseReadout readout(net, {zero_dormant_run(0.75)}, {0.25});
  CHECK(net.layer(0).weight.value.equal(doubles({0, 0, 0, 4}, {1, 2, 2})));
  CHECK(net.layer(1).weight.value.equal(doubles({0, 0, 6, 0}, {1, 2, 2})));
}

TEST_CASE("a method without a full stream is not scored by its dormant weights", "[unit]") {
  const at::Tensor weight = doubles({9, 1, 8, 2}, {1, 2, 2});
  const at::Tensor mask = torch::tensor({0, 1, 0, 1}).view({1, 4});
  ChainNet net({weight}, {mask});
  {
    const SparseReadout readout(net, {carrying_run(0.5, false)}, {0.5});
    CHECK(readout.wanted() == StreamsWanted::kSparse);
    CHECK(effective(net, readout, 2).equal(doubles({0, 1, 0, 2}, {1, 2, 2})));
  }
  {
    const SparseReadout readout(net, {carrying_run(0.5, false)}, {0.75});
    CHECK(effective(net, readout, 2).equal(doubles({9, 1, 0, 2}, {1, 2, 2})));
    CHECK(net.layer(0).weight.value.equal(doubles({9, 1, 0, 2}, {1, 2, 2})));
  }
  // Two streams: the mask that alternated with the full one, whatever has grown outside of it.
  const SparseReadout readout(net, {carrying_run(0.5, true)}, {0.5});
  CHECK(readout.wanted() == StreamsWanted::kSparse);
  CHECK(effective(net, readout, 2).equal(doubles({0, 1, 0, 2}, {1, 2, 2})));
}

TEST_CASE("another budget is ranked by what ranks the method's own mask", "[unit]") {
  const auto run_of = [](const std::string& method, const std::string& source) {
    const Config config = Config::resolve({{"data", "fashion_mnist"},
                                           {"model", "mlp"},
                                           {"weights", method},
                                           {"mask_source", source},
                                           {"budget", "uniform"},
                                           {"density", "0.5"}});
    return ReadoutRun{config, policies_of(config)};
  };
  // Inputs 0, 1, 2 have root mean squares 1, 10 and 5; dL/dw = mean x_i c_o.
  const at::Tensor weight = doubles({8, -7, 1, 2, 3, 0.5}, {1, 3, 2});
  const at::Tensor x = doubles({1, 10, 5, -1, 10, 5}, {1, 2, 3});
  const at::Tensor c = doubles({1, 3}, {2});
  const RankingBatch batch{
      x, [c](const at::Tensor& logits) { return at::Tensor((logits * c).sum(2).mean(1)); }};
  const std::vector<std::pair<std::string, Positions>> expected = {
      {"magnitude", {0, 1}},        // 8 7 1 2 3 0.5
      {"magnitude_input", {3, 4}},  // 8 7 10 20 15 2.5
      {"gradient", {3, 5}},         // 0 0 10 30 5 15
      {"saliency", {3, 4}},         // 0 0 10 60 15 7.5
  };
  const at::Tensor mask = torch::tensor({1, 0, 1, 0, 1, 0}).view({1, 6});
  const std::map<std::string, std::int64_t> within = {// the first of the mask's own
                                                      {"magnitude", 0},
                                                      {"magnitude_input", 4},
                                                      {"gradient", 2},
                                                      {"saliency", 4}};
  for (const auto& [source, positions] : expected) {
    CAPTURE(source);
    ChainNet net({weight}, {mask});
    CHECK(ranks_on_batch({run_of("alternate", source)}) == (source != "magnitude"));
    const auto at = [&](const ReadoutRun& run, double density) {
      return chosen(readout_masks(net, {run}, {density}, batch)[0], 0);
    };
    CHECK(at(run_of("alternate", source), 0.3) == positions);
    CHECK(at(run_of("alternate", source), 0.5) == Positions{0, 2, 4});  // its own mask
    // Nobody's mask in training: ranked at the trained density as well.
    CHECK(at(run_of("cram", source), 0.3) == positions);
    CHECK(at(run_of("cram", source), 0.5).size() == 3);
    CHECK(at(run_of("cram", source), 0.5) != Positions{0, 2, 4});
    // Zeros outside of the mask: what is active comes first.
    CHECK(at(run_of("gmp", source), 0.15) == Positions{within.at(source)});
    // A dense phase has no mask, whatever the last sparse one left.
    ReadoutRun phased = run_of("acdc", source);
    CHECK(at(phased, 0.5) == Positions{0, 2, 4});
    phased.full_phase = true;
    CHECK(at(phased, 0.3) == positions);
    // Nothing of it shows.
    CHECK(net.layer(0).weight.value.equal(weight));
    CHECK_FALSE(net.layer(0).weight.value.grad().defined());
  }
  ChainNet net({weight.repeat({2, 1, 1})}, {mask.repeat({2, 1})});
  const std::vector<ReadoutRun> runs(2, run_of("alternate", "random"));
  const at::Tensor drawn = readout_masks(net, runs, {0.3, 0.3})[0];
  CHECK(drawn.sum().item<std::int64_t>() == 4);
  CHECK(drawn[0].equal(drawn[1]));  // by run and layer alone
}

TEST_CASE("borrowed masks act on the sparse stream and leave connections as they were", "[unit]") {
  ChainNet net({doubles({1, 2, 3, 4}, {1, 2, 2})}, {at::Tensor()});
  const Connections* own = net.layer(0).connections.get();
  const at::Tensor x = doubles({1, 1}, {1, 1, 2});
  Context context;
  context.plans.weights.wanted = StreamsWanted::kSparse;
  {
    const BorrowedMasks borrowed(net, {torch::tensor({0, 1, 1, 0}, torch::kByte).view({1, 4})});
    CHECK(net.forward(x, context).equal(doubles({3, 2}, {1, 1, 2})));
  }
  CHECK(net.layer(0).connections.get() == own);
  CHECK(net.layer(0).weight.connections == own);
  CHECK_FALSE(net.layer(0).connections->active_flags().defined());
  CHECK(net.forward(x, context).equal(doubles({4, 6}, {1, 1, 2})));
}

TEST_CASE("dense copies stand in for layers that store less, and everything comes back", "[unit]") {
  ListedNet net(2, 2, kListed);
  fill(net);
  Parameter& weight = net.layer().weight;
  weight.slot("momentum", 7);
  const void* storage = weight.value.data_ptr();
  const void* slot = weight.slots.at("momentum").values.data_ptr();
  const at::Tensor dense = doubles({1, 0, 2, 3, 0, 4, 0, 0}, {2, 2, 2});
  {
    const DenseCopies copies(net);
    CHECK(weight.value.equal(dense));
    CHECK(weight.value.is_leaf());
    CHECK(weight.value.requires_grad());
    CHECK(net.layer().connections->is_dense());
    CHECK(weight.connections == net.layer().connections.get());
    CHECK(current_flags(net.layer()).equal(dense.ne(0).to(torch::kByte).view({2, 4})));
    CHECK(chosen(ranked_mask(magnitudes(net.layer()), {}, {2, 1}), 0) == Positions{2, 3});
    CHECK(static_cast<MaskedConnections&>(*net.layer().connections).zero_dormant());
    weight.value.mutable_grad() = torch::ones_like(weight.value);
  }
  CHECK(net.layer().connections.get() == &net.listed());
  CHECK(weight.connections == &net.listed());
  CHECK(weight.value.data_ptr() == storage);
  CHECK(weight.value.requires_grad());
  CHECK_FALSE(weight.value.grad().defined());
  CHECK(weight.slots.at("momentum").values.data_ptr() == slot);
  CHECK(weight.flat().equal(torch::tensor({1., 2., 3., 4.}, torch::kDouble)));
}

TEST_CASE("dense copies of a dense net are nothing", "[unit]") {
  ChainNet net({doubles({1, 2, 3, 4}, {1, 2, 2})}, {at::Tensor()});
  const Connections* own = net.layer(0).connections.get();
  const void* storage = net.layer(0).weight.value.data_ptr();
  const DenseCopies copies(net);
  CHECK(net.layer(0).connections.get() == own);
  CHECK(net.layer(0).weight.value.data_ptr() == storage);
}

TEST_CASE("a run's own net is read out as it is stored, another budget through a copy", "[unit]") {
  ListedNet net(2, 2, kListed);
  fill(net);
  const std::vector<ReadoutRun> runs(2, zero_dormant_run(0.75));
  {
    const SparseReadout readout(net, runs, {0.75, 0.75});
    CHECK(net.layer().connections.get() == &net.listed());
    CHECK(readout.wanted() == StreamsWanted::kSparse);
    CHECK(effective(net, readout, 2).equal(doubles({1, 0, 2, 3, 0, 4, 0, 0}, {2, 2, 2})));
    CHECK(net.listed().copies == 0);
  }
  {
    const SparseReadout readout(net, runs, {0.5, 0.25});
    CHECK(readout.wanted() == StreamsWanted::kFull);
    CHECK(effective(net, readout, 2).equal(doubles({0, 0, 2, 3, 0, 4, 0, 0}, {2, 2, 2})));
    CHECK(net.listed().copies == 1);
  }
  CHECK(net.layer().connections.get() == &net.listed());
  CHECK(net.layer().weight.flat().equal(torch::tensor({1., 2., 3., 4.}, torch::kDouble)));
}

TEST_CASE("a layer that is too large to copy is refused by name before anything is", "[unit]") {
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const ConfigError& error) {
      return error.what();
    }
    return {};
  };
  ListedNet net(65536, 65536, kOne);
  CHECK(too_large_to_copy(net).find("layer 'layer0' has 65536 x 65536") == 0);
  CHECK(message([&] { DenseCopies{net}; }).find("'layer0'") != std::string::npos);
  CHECK(net.listed().copies == 0);
  CHECK(net.layer().connections.get() == &net.listed());
  const std::vector<ReadoutRun> silent = {set_run({{"curve", "false"}})};
  const std::vector<ReadoutRun> curved = {set_run({{"curve", "true"}})};
  const std::vector<ReadoutRun> probed = {set_run({{"curve", "false"}, {"probe_every", "100"}})};
  check_dense_readers(net, silent);
  CHECK(message([&] { check_dense_readers(net, curved); }).find("--curve=false") !=
        std::string::npos);
  CHECK(message([&] { check_dense_readers(net, probed); }).find("--probe-every=0") !=
        std::string::npos);
  // Its read-out ranks the two connections and keeps one.
  ListedNet above(65536, 65536, {{5, 6}});
  std::vector<ReadoutRun> within = silent;
  within[0].policies.weights.start.density = 1.0 / (65536.0 * 65536.0);
  CHECK(message([&] { check_dense_readers(above, within); }).find("density") != std::string::npos);
  ListedNet limit(1 << 14, 1 << 13, {{5}});
  CHECK(too_large_to_copy(limit).empty());
  check_dense_readers(limit, probed);
  ListedNet two(1 << 14, 1 << 13, {{5}, {6}});
  CHECK(too_large_to_copy(two).find("each of 2 runs") != std::string::npos);
}

TEST_CASE("probes say whether they read dense weights", "[unit]") {
  const auto reads = [](const std::string& name, const ReadoutRun& run) {
    return probes().at("probe", name)({run})->reads_dense_weights();
  };
  for (const char* name : {"weights", "concentration", "attention_gradient"}) {
    CHECK(reads(name, zero_dormant_run(0.5)));
  }
  for (const char* name : {"activations", "attention", "topology", "gap"}) {
    CHECK_FALSE(reads(name, zero_dormant_run(0.5)));
  }
  CHECK(reads("gap", carrying_run(0.5)));
}

TEST_CASE("probes of a net that stores less say what they say of its dense twin", "[unit]") {
  ListedNet net(2, 2, kListed);
  fill(net);
  const at::Tensor values = doubles({1, 0, 2, 3, 0, 4, 0, 0}, {2, 2, 2});
  ChainNet twin({values}, {values.ne(0)});
  const std::vector<ReadoutRun> runs(2, zero_dormant_run(0.75));
  const at::Tensor x = doubles({1, -2, 3, 4, 0.5, 1, 2, -1}, {2, 2, 2});
  for (const std::string name : {"concentration", "weights"}) {
    const Measurements expected = measure(name, twin, runs, x);
    const DenseCopies copies(net);
    const Measurements rows = measure(name, net, runs, x);
    for (std::size_t r = 0; r < 2; ++r) {
      REQUIRE(rows[r].size() == expected[r].size());
      for (std::size_t i = 0; i < rows[r].size(); ++i) {
        INFO(rows[r][i].layer << " " << rows[r][i].name);
        CHECK(rows[r][i].name == expected[r][i].name);
        CHECK(rows[r][i].value == expected[r][i].value);
      }
    }
  }
}

}  // namespace tandem::test::readout_masks_unit
