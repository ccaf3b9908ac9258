// Values and slots of either storage, spread over all positions.
#include "support/layer_state.h"

#include <catch2/catch.hpp>
#include <cstring>

namespace tandem::test {
namespace {

// Where a replica's stored values lie, ascending. What a sparse storage keeps besides its mask is
// nobody's business but its own, so every value is marked with its place and looked for.
at::Tensor stored_positions(Linear& layer, std::int64_t replica) {
  const at::Tensor flat = layer.weight.flat(), kept = flat.clone();
  flat.copy_(torch::arange(1, flat.numel() + 1, flat.options()));
  const at::Tensor marked = layer.connections->dense_values()[replica].reshape({-1}).clone();
  flat.copy_(kept);
  const at::Tensor positions = marked.nonzero().view({-1});
  REQUIRE(torch::equal(
      marked.index_select(0, positions),
      layer.weight.segment(torch::arange(1, flat.numel() + 1, flat.options()), replica)));
  return positions;
}

}  // namespace

LayerState layer_state(Linear& layer, std::int64_t replica) {
  const at::NoGradGuard no_grad;
  const Connections& connections = *layer.connections;
  const bool is_dense = connections.is_dense();
  const at::Tensor stored = is_dense ? at::Tensor() : stored_positions(layer, replica);
  const auto spread = [&](const at::Tensor& flat) {
    const at::Tensor own = layer.weight.segment(flat, replica);
    if (is_dense) return own.clone();
    return torch::zeros({connections.positions()}, own.options()).index_copy_(0, stored, own);
  };
  LayerState state;
  state.active = connections.dense_flags()[replica].ne(0);
  state.values = spread(layer.weight.flat());
  const at::Tensor superset = connections.superset_flags();
  if (superset.defined()) {
    state.superset = spread(superset).ne(0);
  } else if (!is_dense) {
    state.superset = torch::zeros_like(state.active).index_fill_(0, stored, 1);
  }
  for (const auto& [name, slot] : layer.weight.slots) {
    if (!slot.everywhere) state.slots[name] = {spread(slot.values), slot.newborn};
  }
  return state;
}

std::vector<LayerState> layer_states(Trainer& trainer, std::int64_t replica) {
  std::vector<LayerState> states;
  for (Linear* layer : trainer.model().linears()) states.push_back(layer_state(*layer, replica));
  return states;
}

at::Tensor bits_of(const at::Tensor& values) {
  return values.view(values.scalar_type() == torch::kDouble ? torch::kLong : torch::kInt);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b, const at::Tensor& where) {
  return !bits_of(a).ne(bits_of(b)).logical_and(where).any().item<bool>();
}

void require_same_state(const SavedState& a, const SavedState& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(a[i].first);
    REQUIRE(a[i].first == b[i].first);
    REQUIRE(a[i].second.scalar_type() == b[i].second.scalar_type());
    REQUIRE(a[i].second.sizes() == b[i].second.sizes());
    REQUIRE(std::memcmp(a[i].second.data_ptr(), b[i].second.data_ptr(), a[i].second.nbytes()) == 0);
  }
}

}  // namespace tandem::test
