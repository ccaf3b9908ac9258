// An MLP's k-winners: how many units of a layer are active, and which.
#include <catch2/catch.hpp>

#include "nn/elementwise.h"
#include "nn/model.h"
#include "support/step_support.h"

namespace tandem::test::nn_winners_unit {

TEST_CASE("a share of each layer's units lets something through", "[unit]") {
  for (const std::string norm : {"false", "true"}) {
    INFO("layer_norm " << norm);
    const Config config = small_run({{"activation", "k_winners"},
                                     {"winners", "0.25"},
                                     {"widths", "16,8"},
                                     {"layer_norm", norm}});
    const Config plain = small_run({{"widths", "16,8"}, {"layer_norm", norm}});
    ModelShape shape;
    shape.features = 12;
    shape.outputs = 10;
    const auto model = models().at("model", "mlp")({config}, shape);
    const auto relu = models().at("model", "mlp")({plain}, shape);
    torch::manual_seed(3);
    const at::Tensor x = torch::randn({1, 50, 12});
    std::vector<at::Tensor> seen, without;
    const auto look = [&](Model& net, std::vector<at::Tensor>& into) {
      Context context;
      context.observe_tensor = [&into](const std::string&, const std::string& what,
                                       const at::Tensor& value) {
        if (what == "activation") into.push_back(value.detach().clone());
      };
      net.forward(x, context);
    };
    look(*model, seen);
    look(*relu, without);
    REQUIRE(seen.size() == 2);
    const std::vector<std::int64_t> most = {4, 2};  // a quarter of 16 and of 8
    for (std::size_t l = 0; l < 2; ++l) {
      const at::Tensor active = seen[l].gt(0).sum(-1);
      CHECK(active.max().item<std::int64_t>() <= most[l]);
      CHECK(active.max().item<std::int64_t>() == most[l]);
    }
    // The first layer's inputs are the same for both: its winners are the largest of the ReLU's.
    const at::Tensor sorted = std::get<0>(without[0].sort(-1, /*descending=*/true));
    const at::Tensor least = sorted.narrow(-1, most[0] - 1, 1);
    CHECK(torch::equal(seen[0], without[0] * without[0].ge(least)));
  }
}

}  // namespace tandem::test::nn_winners_unit
