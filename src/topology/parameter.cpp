// This file has a parameter's flat view and its slots.
#include "topology/parameter.h"

#include "data/tensor.h"
#include "topology/connections.h"

namespace tandem {

std::int64_t Parameter::replicas() const {
  return connections != nullptr ? connections->replicas() : value.size(0);
}

at::Tensor Parameter::flat() const { return value.detach().view(-1); }

std::vector<std::int64_t> Parameter::segments() const {
  if (connections != nullptr) return connections->segments();
  const std::int64_t each = value.numel() / value.size(0);
  std::vector<std::int64_t> offsets;
  for (std::int64_t r = 0; r <= value.size(0); ++r) offsets.push_back(r * each);
  return offsets;
}

at::Tensor Parameter::segment(const at::Tensor& flat_values, std::int64_t replica) const {
  const auto offsets = segments();
  const auto r = static_cast<std::size_t>(replica);
  return flat_values.narrow(0, offsets.at(r), offsets.at(r + 1) - offsets.at(r));
}

at::Tensor Parameter::of_replica(std::int64_t replica) const {
  return value.dim() > 1 ? value.detach()[replica] : segment(flat(), replica);
}

at::Tensor Parameter::slot(const std::string& slot_name, double newborn) {
  const auto found = slots.find(slot_name);
  if (found != slots.end()) return found->second.values;
  const at::Tensor values =
      torch::full({value.numel()}, newborn, value.options().requires_grad(false));
  slots.emplace(slot_name, Slot{values, newborn});
  return values;
}

namespace {

// Where any of the slots that hold does so; `part` takes what is wanted of a slot's values.
template <class Part>
at::Tensor held_by(const std::map<std::string, Slot>& slots, Part part) {
  at::Tensor all;
  for (const auto& [slot_name, slot] : slots) {
    if (!slot.holds) continue;
    const at::Tensor own = part(slot.values).ne(0);
    all = all.defined() ? all.logical_or(own) : own;
  }
  return all;
}

}  // namespace

at::Tensor Parameter::held() const {
  return held_by(slots, [](const at::Tensor& values) { return values; });
}

at::Tensor Parameter::held(std::int64_t replica) const {
  return held_by(slots, [&](const at::Tensor& values) { return segment(values, replica); });
}

void Parameter::empty_slots(const std::vector<char>& which) {
  for (auto& [slot_name, slot] : slots) {
    if (slot.everywhere || slot.lasting) continue;
    for (std::size_t r = 0; r < which.size(); ++r) {
      if (which[r]) segment(slot.values, static_cast<std::int64_t>(r)).fill_(slot.newborn);
    }
  }
}

}  // namespace tandem
