// A user's growth criterion with a slot of its own, as CONTRIBUTING.md shows it: the engine keeps
// the slot up to date, topology updates read it and move it.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "topology/masked_connections.h"
#include "topology/topology_update.h"

namespace tandem::test::topology_slot_criterion_unit {

namespace {

constexpr const char* kSlot = "test_averaged_gradient";

// In the case, so that it stands in no other case's registry.
void declare_criterion() {
  criteria().add({.kind = "criterion",
                  .name = kSlot,
                  .summary = "magnitude of an average of the dense gradient",
                  .cite = "",
                  .file = __FILE__},
                 {.name = kSlot,
                  .slots = {kSlot},
                  .score = [](const ScoreInputs& inputs) -> at::Tensor {
                    return inputs.slots.at(kSlot).abs();
                  },
                  .accumulate =
                      [](const at::Tensor& gradient, std::map<std::string, at::Tensor>& slots) {
                        slots.at(kSlot).mul_(0.9).add_(gradient, 0.1);
                      }});
}

}  // namespace

TEST_CASE("a criterion's own slot is accumulated, read and reset for the newborn", "[unit]") {
  declare_criterion();
  Parameter weight;
  weight.name = "w";
  weight.value = torch::tensor({{{1.0f, 0.0f}, {-3.0f, 0.0f}, {2.0f, 0.0f}}}).requires_grad_(true);
  const at::Tensor mask = torch::tensor({1, 0, 1, 0, 1, 0}, torch::kUInt8).view({1, 6});
  MaskedConnections connections(weight, mask);
  connections.set_zero_dormant(true);
  TopologyRule rule;
  rule.operations = {{TopologyOperation::Kind::kDrop, "magnitude", false},
                     {TopologyOperation::Kind::kGrow, kSlot, false}};
  rule.drop_schedule = TopologyRule::DropSchedule::kConstant;
  rule.drop_fraction = 0.4;  // int(0.4 x 3) = 1: the weight of 1.0
  TopologyUpdater updater({&connections}, {{"w", 3, 2}}, {rule}, {Start{}}, {1});
  weight.value.mutable_grad() = torch::tensor({{{0.0f, 1.0f}, {0.0f, 7.0f}, {0.0f, 2.0f}}});
  updater.accumulate(torch::ones({1}, torch::kBool));
  updater.accumulate(torch::zeros({1}, torch::kBool));
  const at::Tensor slot = weight.slot(kSlot);
  REQUIRE(slot[3].item<float>() == Approx(0.7f));
  const auto counts = updater.update({{1}, {0.0}, {1}}, true);
  REQUIRE(counts.front().grown[0] == 1);
  const at::Tensor active = connections.active_flags().view({-1});
  REQUIRE(active[3].item<int>() == 1);  // the largest average, position (1, 1)
  REQUIRE(active[0].item<int>() == 0);
  REQUIRE(weight.slot(kSlot)[3].item<float>() == 0);
}

}  // namespace tandem::test::topology_slot_criterion_unit
