// Masks of read-outs, and that a model looks as before when a read-out is over.
#include "core/error.h"
#include "probes/readout.h"
#include "probes_fixture.h"

using namespace tandem;

namespace {

std::vector<std::int64_t> chosen(const at::Tensor& mask, std::int64_t replica) {
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < mask.size(1); ++i) {
    if (mask[replica][i].item<std::uint8_t>() != 0) positions.push_back(i);
  }
  return positions;
}

using Positions = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("every family of probes is registered and says what it logs", "[unit]") {
  const std::vector<std::pair<std::string, std::string>> families = {
      {"activations", "live_l0"}, {"attention", "oracle_mass"}, {"concentration", "accuracy_"},
      {"gap", "feature_norm"},    {"topology", "survival"},     {"weights", "effective_density"}};
  for (const auto& [name, logged] : families) {
    CHECK(part("probe", name).summary.find(logged) != std::string::npos);
    CHECK(probes().at("probe", name)({carrying_run(0.5)}) != nullptr);
  }
  CHECK(probes().all().size() == families.size());
  CHECK_THROWS_AS(probes().at("probe", "gaps"), ConfigError);
}

TEST_CASE("a read-out mask takes the largest magnitudes, ties to the smaller index", "[unit]") {
  ChainNet net({doubles({1, -3, 3, 2, 0, 3, 5, -4, 4, 1, 1, 1}, {2, 2, 3})}, {at::Tensor()});
  const at::Tensor mask = readout_mask(net.layer(0), {2, 3}, false);
  CHECK(mask.scalar_type() == torch::kByte);
  CHECK(chosen(mask, 0) == Positions{1, 2});
  CHECK(chosen(mask, 1) == Positions{0, 1, 2});
}

TEST_CASE("ranked active first, a dormant weight comes after every active one", "[unit]") {
  ChainNet net({doubles({9, 1, 8, 2, 7, 3}, {1, 2, 3})},
               {torch::tensor({0, 1, 0, 1, 0, 1}).view({1, 6})});
  CHECK(chosen(readout_mask(net.layer(0), {2}, true), 0) == Positions{3, 5});
  CHECK(chosen(readout_mask(net.layer(0), {3}, true), 0) == Positions{1, 3, 5});
  CHECK(chosen(readout_mask(net.layer(0), {4}, true), 0) == Positions{0, 1, 3, 5});
  CHECK(chosen(readout_mask(net.layer(0), {2}, false), 0) == Positions{0, 2});
}

TEST_CASE("a sparse read-out masks each replica at its own density and restores", "[unit]") {
  const at::Tensor w0 = doubles({1, 2, 3, 4, 4, 3, 2, 1}, {2, 2, 2});
  const at::Tensor w1 = doubles({5, 6, 7, 8, 5, 6, 7, 8}, {2, 2, 2});
  ChainNet net({w0, w1}, {at::Tensor(), at::Tensor()});
  net.layer(1).connections.reset();
  net.layer(1).weight.connections = nullptr;
  const std::vector<ProbeRun> runs = {carrying_run(0.1), carrying_run(0.1)};
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
    CHECK(net.layer(0).weight.value.equal(doubles({0, 1, 0, 2}, {1, 2, 2})));
  }
  {
    const SparseReadout readout(net, {carrying_run(0.5, false)}, {0.75});
    CHECK(net.layer(0).weight.value.equal(doubles({9, 1, 0, 2}, {1, 2, 2})));
  }
  const SparseReadout readout(net, {carrying_run(0.5, true)}, {0.5});
  CHECK(net.layer(0).weight.value.equal(doubles({9, 0, 8, 0}, {1, 2, 2})));
}

TEST_CASE("borrowed masks act on the sparse stream and leave connections as they were", "[unit]") {
  ChainNet net({doubles({1, 2, 3, 4}, {1, 2, 2})}, {at::Tensor()});
  const Connections* own = net.layer(0).connections.get();
  const at::Tensor x = doubles({1, 1}, {1, 1, 2});
  Context context;
  context.weights.view = View::kSparse;
  {
    const BorrowedMasks borrowed(net, {torch::tensor({0, 1, 1, 0}, torch::kByte).view({1, 4})});
    CHECK(net.forward(x, context).equal(doubles({3, 2}, {1, 1, 2})));
  }
  CHECK(net.layer(0).connections.get() == own);
  CHECK(net.layer(0).weight.connections == own);
  CHECK_FALSE(net.layer(0).connections->active_flags().defined());
  CHECK(net.forward(x, context).equal(doubles({4, 6}, {1, 1, 2})));
}
