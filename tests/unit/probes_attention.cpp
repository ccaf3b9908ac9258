// Concentration of attention weights that are written down: 4 tokens in blocks of 1, 2 blocks
// chosen, so that queries 2 and 3 count.
#include "nn/attention/module.h"
#include "probes_fixture.h"

namespace tandem::test::probes_attention_unit {

namespace {

// Offers what attention would and computes nothing.
class AttentionOffer : public Model {
 public:
  at::Tensor forward(const at::Tensor& x, Context& context) override {
    wanted = context.plans.attention.wanted;
    if (context.observe_tensor) {
      context.observe_tensor("a", kObserveGate, gate);
      context.observe_tensor("a", kObserveWeights, weights);
      context.observe_tensor("a", kObserveSelected, selected);
      context.observe_tensor("a", kObserveValues, values);
      context.observe_tensor("a", "activation", gate);
    }
    return x;
  }
  std::vector<Linear*> linears() override { return {}; }
  std::vector<Parameter*> parameters() override { return {}; }
  std::int64_t sites(Level level) const override { return level == Level::kAttention ? 1 : 0; }

  at::Tensor weights, selected, values, gate;
  StreamsWanted wanted = StreamsWanted::kBoth;
};

AttentionOffer by_hand() {
  AttentionOffer offer;
  offer.weights = doubles({1, 0, 0, 0,          //
                           0.5, 0.5, 0, 0,      //
                           0.5, 0.25, 0.25, 0,  //
                           0.4, 0.3, 0.2, 0.1},
                          {1, 1, 1, 4, 4});
  offer.selected = torch::tensor({1, 0, 0, 0,  //
                                  1, 1, 0, 0,  //
                                  0, 1, 1, 0,  //
                                  0, 0, 1, 1})
                       .to(torch::kBool)
                       .view({1, 1, 1, 4, 4});
  offer.values = torch::zeros({1, 1, 4, 1, 2}, torch::kDouble);
  offer.gate = doubles({0, 0, 0.25, 0.75}, {1, 1, 4, 1});
  return offer;
}

ReadoutRun attention_run(const std::string& blocks) {
  ReadoutRun run = zero_dormant_run(1);
  run.policies.attention.schedule.kind = Schedule::Kind::kSparse;
  run.config = Config::resolve(
      {{"data", "bytes"}, {"model", "transformer"}, {"block_size", "1"}, {"blocks", blocks}});
  return run;
}

const at::Tensor kInput = torch::zeros({1, 1, 4, 2}, torch::kDouble);

}  // namespace

TEST_CASE("kept and oracle mass, entropy and gate by hand", "[unit]") {
  AttentionOffer offer = by_hand();
  const auto rows = measure("attention", offer, {attention_run("2")}, kInput);
  CHECK(offer.wanted == StreamsWanted::kFull);
  for (const char* layer : {"attention", "attention/a"}) {
    CHECK(value(rows, 0, layer, "kept_mass") == Approx(0.4));                     // .5 and .3
    CHECK(value(rows, 0, layer, "oracle_mass") == Approx(0.625));                 // .75 and .5
    CHECK(value(rows, 0, layer, "entropy") == Approx((1.5 + 1.8464393447) / 2));  // bits
    CHECK(value(rows, 0, layer, "gate") == Approx(0.5));
    CHECK(value(rows, 0, layer, "drop_distance") == 0);
    CHECK(value(rows, 0, layer, "sparse_norm") == 0);
    CHECK(value(rows, 0, layer, "sink_mass") == Approx(0.45));
    CHECK(value(rows, 0, layer, "union_2") == 1.5);  // tokens 1 and 2, and 2 and 3
    CHECK(values_of(rows, 0, layer, "union_4").empty());
    CHECK(values_of(rows, 0, layer, "bound_ratio").empty());  // nothing to be bounded
  }
}

TEST_CASE("the distance of what is dropped, apart from how much it is", "[unit]") {
  AttentionOffer offer = by_hand();
  // Query 2: dropped v = (3,0), kept (0,0). Query 3: dropped mean (1.2/.7,0), kept (0,.4/.3).
  offer.values = doubles({3, 0, 0, 0, 0, 0, 0, 4}, {1, 1, 4, 1, 2});
  const auto rows = measure("attention", offer, {attention_run("2")}, kInput);
  CHECK(value(rows, 0, "attention/a", "drop_distance") ==
        Approx((3 + std::hypot(1.2 / 0.7, 0.4 / 0.3)) / 2));
  CHECK(value(rows, 0, "attention/a", "sparse_norm") == Approx(0.4 / 0.3 / 2));
  // Bounds: .5 (3 + 0) and .7 (3 + 4/3).
  CHECK(value(rows, 0, "attention/a", "bound_ratio") ==
        Approx((1.5 + 0.7 * std::hypot(1.2 / 0.7, 0.4 / 0.3)) / (1.5 + 0.7 * (3 + 0.4 / 0.3))));
}

TEST_CASE("sequences that the budget covers have no rows", "[unit]") {
  AttentionOffer offer = by_hand();
  CHECK(measure("attention", offer, {attention_run("4")}, kInput)[0].empty());
}

TEST_CASE("models without attention have no rows", "[unit]") {
  ChainNet net({torch::ones({2, 2, 2}, torch::kDouble)}, {at::Tensor()});
  const auto rows = measure("attention", net, {carrying_run(1), carrying_run(1)},
                            torch::ones({2, 1, 2}, torch::kDouble));
  CHECK(rows.size() == 2);
  CHECK(rows[0].empty());
}

}  // namespace tandem::test::probes_attention_unit
