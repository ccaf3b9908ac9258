#include "topology/saved_topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "data/tensor.h"

namespace tandem {
namespace {

constexpr std::int64_t kTag = -0x74616e64656d;  // no list of before begins with it
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kBitsForm =
    0;  // ActiveSet::save()'s first number, where bytes and words follow

enum Plane : std::int64_t { kMaskPlane = 0, kSupersetPlane = 1, kNestedPlane = 2 };

using Numbers = std::vector<std::int64_t>;

Numbers numbers_of(const at::Tensor& saved) {
  const at::Tensor host = saved.to(torch::kCPU).contiguous();
  const auto* begin = host.const_data_ptr<std::int64_t>();
  return {begin, begin + host.numel()};
}

// A layer's shape, and what a checkpoint says of its name.
struct Asked {
  const std::string& name;
  std::int64_t inputs, outputs;
  std::int64_t positions() const { return inputs * outputs; }

  [[noreturn]] void refuse(const std::string& found) const {
    throw StoreError(fmt::format(
        "the topology of {} in a checkpoint {}; expected one of {} inputs and {} outputs: use the "
        "model and the storage that wrote it, or train anew",
        name, found, inputs, outputs));
  }
  ActiveSet set_of(const std::vector<std::int64_t>& saved) const {
    try {
      return ActiveSet::load(saved);
    } catch (const StoreError& error) {
      refuse(std::string("is damaged (") + error.what() + ")");
    }
  }
  // The listed set lies within the layer.
  ActiveSet within(ActiveSet set) const {
    const Numbers all = set.positions();
    const bool ascends =
        std::adjacent_find(all.begin(), all.end(), std::greater_equal<>()) == all.end();
    if (!ascends || (!all.empty() && (all.front() < 0 || all.back() >= positions()))) {
      refuse("has positions outside the layer, or out of order");
    }
    return set;
  }
};

SavedTopology load_tagged(const Numbers& numbers, const Asked& asked) {
  if (numbers.size() < 5 || numbers[1] != kVersion) {
    asked.refuse("is of a form that this program does not know");
  }
  if (numbers[2] != asked.inputs || numbers[3] != asked.outputs) {
    asked.refuse(fmt::format("is of {} inputs and {} outputs", numbers[2], numbers[3]));
  }
  SavedTopology loaded{asked.inputs, asked.outputs, {}};
  std::size_t at = 5;
  for (std::int64_t plane = 0; plane < numbers[4]; ++plane) {
    const std::size_t left = numbers.size() - at;
    if (left < 2 || numbers[at + 1] < 1 || static_cast<std::size_t>(numbers[at + 1]) > left - 2) {
      asked.refuse("is cut short");
    }
    const std::int64_t kind = numbers[at];
    const auto begin = numbers.begin() + static_cast<std::ptrdiff_t>(at) + 2;
    ActiveSet set = asked.set_of({begin, begin + numbers[at + 1]});
    loaded.listed = begin[0] != kBitsForm;
    if (loaded.listed) {
      set = asked.within(std::move(set));
    } else if (begin[1] != (asked.positions() + 7) / 8) {
      asked.refuse(fmt::format("has {} bytes of bits", begin[1]));
    }
    at += 2 + static_cast<std::size_t>(numbers[at + 1]);
    if (kind == kMaskPlane) {
      loaded.mask = std::move(set);
    } else if (kind == kSupersetPlane) {
      loaded.superset = std::move(set);
    } else {
      loaded.nested.push_back(std::move(set));
    }
  }
  if (!loaded.mask.known() || at != numbers.size()) asked.refuse("lacks its mask, or has a rest");
  return loaded;
}

// Packed masks one after the other.
SavedTopology load_packed(const at::Tensor& saved, const Asked& asked) {
  const std::int64_t bytes = (asked.positions() + 7) / 8;
  if (saved.numel() == 0 || saved.numel() % bytes != 0) {
    asked.refuse(fmt::format("has {} bytes, which are no masks of {} positions", saved.numel(),
                             asked.positions()));
  }
  const at::Tensor host = saved.to(torch::kCPU).contiguous();
  const auto* bits = host.const_data_ptr<std::uint8_t>();
  SavedTopology loaded{asked.inputs, asked.outputs, {}};
  for (std::int64_t plane = 0; plane < saved.numel() / bytes; ++plane) {
    ActiveSet set = ActiveSet::of_bits({bits + plane * bytes, bits + (plane + 1) * bytes});
    if (plane == 0) {
      loaded.mask = std::move(set);
    } else {
      loaded.untold.push_back(std::move(set));
    }
  }
  return loaded;
}

SavedTopology load_listed(const Numbers& numbers, const Asked& asked) {
  const bool flagged = numbers.size() >= 2 && numbers[0] == -asked.inputs;
  if (numbers.size() < 2 || (numbers[0] != asked.inputs && !flagged) ||
      numbers[1] != asked.outputs) {
    asked.refuse("is another layer's");
  }
  Numbers stored(numbers.begin() + 2, numbers.end());
  SavedTopology loaded{asked.inputs, asked.outputs, {}};
  loaded.listed = true;
  if (!flagged) {
    loaded.mask = asked.within(ActiveSet::of_positions(std::move(stored)));
    return loaded;
  }
  Numbers active;
  for (std::int64_t& number : stored) {
    const bool is_active = (number & 1) != 0;
    number >>= 1;
    if (is_active) active.push_back(number);
  }
  loaded.mask = asked.within(ActiveSet::of_positions(std::move(active)));
  loaded.superset = asked.within(ActiveSet::of_positions(std::move(stored)));
  return loaded;
}

void add_plane(Numbers& numbers, Plane kind, const ActiveSet& set) {
  const Numbers own = set.save();
  numbers.insert(numbers.end(), {kind, static_cast<std::int64_t>(own.size())});
  numbers.insert(numbers.end(), own.begin(), own.end());
  ++numbers[4];
}

}  // namespace

at::Tensor SavedTopology::save() const {
  Numbers numbers = {kTag, kVersion, inputs, outputs, 0};
  add_plane(numbers, kMaskPlane, mask);
  if (superset.known()) add_plane(numbers, kSupersetPlane, superset);
  for (const ActiveSet& each : nested) add_plane(numbers, kNestedPlane, each);
  return torch::tensor(numbers, torch::kLong);
}

std::optional<std::pair<std::int64_t, std::int64_t>> SavedTopology::shape_in(
    const at::Tensor& saved) {
  if (saved.scalar_type() != torch::kLong) return std::nullopt;
  const Numbers numbers = numbers_of(saved);
  const bool tagged = !numbers.empty() && numbers[0] == kTag;
  if (numbers.size() < (tagged ? 4U : 2U)) return std::nullopt;
  if (tagged) return std::pair{numbers[2], numbers[3]};
  return std::pair{std::abs(numbers[0]), numbers[1]};
}

SavedTopology SavedTopology::load(const at::Tensor& saved, const std::string& name,
                                  std::int64_t inputs, std::int64_t outputs) {
  const Asked asked{name, inputs, outputs};
  if (saved.scalar_type() == torch::kByte) return load_packed(saved, asked);
  if (saved.scalar_type() != torch::kLong) asked.refuse("is neither bytes nor whole numbers");
  const Numbers numbers = numbers_of(saved);
  const bool tagged = !numbers.empty() && numbers[0] == kTag;
  return tagged ? load_tagged(numbers, asked) : load_listed(numbers, asked);
}

}  // namespace tandem
