// This file has the sparse storage's questions and products; its updates are in sparse_update.cpp,
// and the superset in sparse_superset.cpp.
#include "topology/sparse_connections.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "data/tensor.h"
#include "topology/sampled_choice.h"
#include "topology/saved_topology.h"
#include "topology/sparse_product.h"

namespace tandem {
namespace {

constexpr std::int64_t kBlock = std::int64_t{1} << 18;  // positions of a visited block, about

at::Tensor of_list(std::vector<std::int64_t>& values) {  // shares memory
  return torch::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, torch::kLong);
}

}  // namespace

SparseConnections::SparseConnections(Parameter& parameter, std::int64_t inputs,
                                     std::int64_t outputs,
                                     const std::vector<std::vector<std::int64_t>>& positions)
    : Connections(parameter, static_cast<std::int64_t>(positions.size()), inputs, outputs) {
  for (const auto& own : positions) index_.emplace_back(inputs, outputs, own);
  scaled_.assign(positions.size(), Start::InitScale::kDense);
  TORCH_INTERNAL_ASSERT(parameter.value.dim() == 1 && parameter.value.is_cpu() &&
                            parameter.value.numel() == segments().back(),
                        "sparse values of shape ", parameter.value.sizes(), " for ",
                        segments().back(), " connections");
}

std::int64_t SparseConnections::active(std::int64_t replica) const {
  const auto drafted = pending_.find(replica);
  if (drafted != pending_.end()) return drafted->second.active_count();
  const std::int64_t stored = index_.at(static_cast<std::size_t>(replica)).count();
  const std::uint8_t* active = active_of(replica);
  return active == nullptr ? stored : std::count(active, active + stored, std::uint8_t{1});
}

const std::uint8_t* SparseConnections::active_of(std::int64_t replica) const {
  const auto drafted = pending_.find(replica);
  if (drafted != pending_.end()) return drafted->second.active.data();
  if (!active_.defined()) return nullptr;
  return active_.data_ptr<std::uint8_t>() + segments().at(static_cast<std::size_t>(replica));
}

std::vector<std::int64_t> SparseConnections::active_positions(std::int64_t replica) const {
  const auto drafted = pending_.find(replica);
  if (drafted != pending_.end()) return drafted->second.active_positions();
  std::vector<std::int64_t> stored = index_.at(static_cast<std::size_t>(replica)).positions();
  const std::uint8_t* active = active_of(replica);
  if (active == nullptr) return stored;
  std::vector<std::int64_t> kept;
  for (std::size_t e = 0; e < stored.size(); ++e) {
    if (active[e] != 0) kept.push_back(stored[e]);
  }
  return kept;
}

std::vector<std::int64_t> SparseConnections::segments() const {
  std::vector<std::int64_t> offsets = {0};
  for (const SparseIndex& own : index_) offsets.push_back(offsets.back() + own.count());
  return offsets;
}

TwoStreams SparseConnections::product(const at::Tensor& x, const at::Tensor& bias,
                                      const ProductPlan& plan) const {
  TORCH_INTERNAL_ASSERT(x.dim() == 3 && x.size(0) == replicas() && x.size(2) == inputs(), "x ",
                        x.sizes(), " for ", replicas(), " replicas of ", inputs(), " inputs");
  if (input_squares_.expected()) input_squares_.note(x);
  const auto multiply = [&](const UsedValues& used, at::Tensor& local) {
    if (plan.detached) local = sparse_product(*this, used, x.detach(), bias, false);
    return sparse_product(*this, used, x, bias, plan.relu);
  };
  const at::Tensor& values = parameter().value;
  TwoStreams streams;
  if (plan.selected) {
    streams.full = multiply({values, running_flags(plan.full_runs)}, streams.full_local);
    return streams;
  }
  if (plan.full) streams.full = multiply({values}, streams.full_local);
  if (!plan.sparse) return streams;
  if (streams.full.defined() && !active_.defined()) {  // nothing dormant has a value
    streams.sparse = streams.full;
    streams.sparse_local = streams.full_local;
  } else {
    streams.sparse = multiply({values, active_, plan.mask_gradient}, streams.sparse_local);
  }
  return streams;
}

// Returns flags of what each replica's running stream uses; they are undefined where it is all that
// is stored.
at::Tensor SparseConnections::running_flags(const at::Tensor& full_runs) const {
  if (!active_.defined()) return {};
  const at::Tensor flags = active_.clone(), full = full_runs.to(torch::kBool).contiguous();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    if (full.data_ptr<bool>()[r]) parameter().segment(flags, r).fill_(1);
  }
  return flags;
}

ActiveSet SparseConnections::active_set(std::int64_t replica) const {
  return ActiveSet::of_positions(active_positions(replica));
}

ActiveSet SparseConnections::stored_set(std::int64_t replica) const {
  return ActiveSet::of_positions(index_.at(static_cast<std::size_t>(replica)).positions());
}

ActiveSet SparseConnections::superset(std::int64_t replica) const {
  return superset_.defined() ? stored_set(replica) : ActiveSet();
}

at::Tensor SparseConnections::save_topology(std::int64_t replica) const {
  SavedTopology saved{inputs(), outputs(), active_set(replica)};
  if (active_of(replica) != nullptr) saved.superset = stored_set(replica);
  return saved.save();
}

void SparseConnections::load_topology(std::int64_t replica, const at::Tensor& saved) {
  const SavedTopology topology = SavedTopology::load(saved, parameter().name, inputs(), outputs());
  if (!topology.listed) {
    throw StoreError("the topology of " + parameter().name +
                     " in a checkpoint has the bits of a masked layer, and this one, of " +
                     std::to_string(inputs()) + " inputs and " + std::to_string(outputs()) +
                     " outputs, is stored sparsely: resume with the storage that wrote it, or "
                     "train anew");
  }
  const std::vector<std::int64_t> active = topology.mask.positions();
  PendingTopology loaded;
  loaded.positions = topology.superset.known() ? topology.superset.positions() : active;
  std::size_t next = 0;
  for (const std::int64_t position : loaded.positions) {
    const bool is_active = next < active.size() && active[next] == position;
    loaded.active.push_back(is_active);
    next += is_active;
  }
  if (next != active.size()) {
    throw StoreError("the topology of " + parameter().name +
                     " in a checkpoint has a mask that lies outside its superset; train anew");
  }
  const auto count = static_cast<std::int64_t>(loaded.positions.size());
  at::NoGradGuard no_grad;
  loaded.values = torch::zeros({count}, parameter().flat().options());
  for (const auto& [name, slot] : parameter().slots) {
    loaded.slots[name] = torch::full({count}, slot.newborn, slot.values.options());
  }
  replace({{replica, std::move(loaded)}});
}

void SparseConnections::scale(std::int64_t replica, Start::InitScale kind) {
  at::NoGradGuard no_grad;
  scaled_.at(static_cast<std::size_t>(replica)) = kind;
  rescale(parameter().segment(parameter().flat(), replica),
          index_.at(static_cast<std::size_t>(replica)).outputs_of_positions(), replica, kind);
}

// `units` are those that each value leads to. A unit without connections counts as one with one.
void SparseConnections::rescale(at::Tensor values, std::vector<std::int64_t> units,
                                std::int64_t replica, Start::InitScale kind) const {
  if (kind == Start::InitScale::kDense) return;
  const SparseIndex& own = index_.at(static_cast<std::size_t>(replica));
  if (kind == Start::InitScale::kDensity) {
    values.div_(std::sqrt(static_cast<double>(own.count()) / static_cast<double>(positions())));
    return;
  }
  std::vector<std::int64_t> fan_in = own.fan_in();
  const at::Tensor share = of_list(fan_in).to(values.scalar_type()).clamp_min_(1) / inputs();
  values.div_(share.sqrt().index_select(0, of_list(units)));
}

// Where it is called with true again before the end, what was kept stays.
void SparseConnections::expect_gradient(bool expected) {
  if (!expected || !expects_gradient_) factors_.clear();
  expects_gradient_ = expected;
}

at::Tensor SparseConnections::stored_positions() const {
  const at::Tensor all = torch::empty({parameter().value.numel()}, torch::kInt64);
  auto* out = all.data_ptr<std::int64_t>();
  for (const SparseIndex& index : index_) {
    const std::vector<std::int64_t> own = index.positions();
    out = std::copy(own.begin(), own.end(), out);
  }
  return all;
}

at::Tensor SparseConnections::dense_values() const {
  const at::Tensor dense = torch::zeros({replicas(), positions()}, parameter().flat().options());
  for (std::int64_t r = 0; r < replicas(); ++r) {
    std::vector<std::int64_t> own = index_[static_cast<std::size_t>(r)].positions();
    dense[r].index_copy_(0, of_list(own), parameter().segment(parameter().flat(), r));
  }
  return dense.view({replicas(), inputs(), outputs()});
}

at::Tensor SparseConnections::dense_flags() const {
  const at::Tensor flags = torch::zeros({replicas(), positions()}, torch::kByte);
  for (std::int64_t r = 0; r < replicas(); ++r) {
    std::vector<std::int64_t> own = active_positions(r);
    flags[r].index_fill_(0, of_list(own), 1);
  }
  return flags;
}

at::Tensor SparseConnections::values_of(std::int64_t replica) const {
  const auto drafted = pending_.find(replica);
  return drafted != pending_.end() ? drafted->second.values
                                   : parameter().segment(parameter().flat(), replica);
}

ScoreInputs SparseConnections::stored_inputs(std::int64_t replica,
                                             const Criterion& criterion) const {
  ScoreInputs inputs;
  inputs.weight = values_of(replica);
  inputs.parameter = criterion.parameter;
  const auto drafted = pending_.find(replica);
  if (criterion.needs_inputs) {
    TORCH_INTERNAL_ASSERT(input_squares_.known(), "criterion ", criterion.name, " of ",
                          parameter().name, " needs the inputs of a product");
    const std::vector<std::int64_t>& stored =
        drafted != pending_.end() ? drafted->second.positions
                                  : index_.at(static_cast<std::size_t>(replica)).positions();
    std::vector<std::int64_t> units;
    for (const std::int64_t position : stored) units.push_back(position / outputs());
    inputs.input_scale = input_squares_.values()[replica].sqrt().index_select(0, of_list(units));
  }
  for (const std::string& name : criterion.slots) {
    inputs.slots[name] = drafted != pending_.end()
                             ? drafted->second.slots.at(name)
                             : parameter().segment(parameter().slot(name), replica);
  }
  return inputs;
}

void SparseConnections::visit_scores(
    std::int64_t replica, const Criterion& criterion, Candidates candidates,
    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>& visit) const {
  TORCH_INTERNAL_ASSERT(criterion.score != nullptr && !criterion.needs_uniform, criterion.name,
                        " has no scores that a visit can read");
  at::NoGradGuard no_grad;
  for (const std::string& name : criterion.slots) parameter().slot(name);
  if (candidates != Candidates::kActive || criterion.needs_gradient) {
    visit_blocks(replica, criterion, candidates, /*key=*/0, visit);
    return;
  }
  const ScoreInputs inputs = stored_inputs(replica, criterion);
  const std::uint8_t* active = active_of(replica);
  at::Tensor flags;
  if (active != nullptr) {
    flags =
        torch::from_blob(const_cast<std::uint8_t*>(active), {inputs.weight.numel()}, torch::kByte);
  }
  visit(criterion.score(inputs), flags);
}

// Returns x^T dy of these inputs, summed over the backward passes that are kept.
at::Tensor SparseConnections::dense_gradient(std::int64_t replica, std::int64_t first_input,
                                             std::int64_t inputs) const {
  TORCH_INTERNAL_ASSERT(!factors_.empty(), "the dense gradient of ", parameter().name,
                        " was not expected in the last backward pass");
  at::Tensor gradient;  // [inputs,out]
  for (const Factors& each : factors_) {
    const at::Tensor x = each.x[replica].narrow(1, first_input, inputs);  // [N,inputs]
    if (gradient.defined()) {
      gradient.addmm_(x.t(), each.dy[replica]);
    } else {
      gradient = torch::mm(x.t(), each.dy[replica]);
    }
  }
  return gradient;
}

at::Tensor SparseConnections::topology_scores(std::int64_t replica, const Criterion& criterion,
                                              std::uint64_t key) const {
  const ActiveSet set = active_set(replica);
  at::Tensor weights = values_of(replica).to(torch::kDouble);
  if (const std::uint8_t* active = active_of(replica); active != nullptr) {
    const at::Tensor flags =
        torch::from_blob(const_cast<std::uint8_t*>(active), {weights.numel()}, torch::kByte);
    weights = weights.masked_select(flags.ne(0));
  }
  return criterion.of_topology({set, inputs(), outputs(), key, weights.contiguous()})
      .to(parameter().value.scalar_type());
}

void SparseConnections::visit_blocks(
    std::int64_t replica, const Criterion& criterion, Candidates candidates, std::uint64_t key,
    const std::function<void(const at::Tensor&, const at::Tensor&)>& visit) const {
  const auto drafted = pending_.find(replica);
  const bool pending = drafted != pending_.end();
  at::Tensor of_topology;  // [in*out]
  if (criterion.of_topology != nullptr) of_topology = topology_scores(replica, criterion, key);
  const std::vector<std::int64_t> stored =
      pending ? drafted->second.positions
              : index_.at(static_cast<std::size_t>(replica)).positions();
  const std::uint8_t* active = active_of(replica);
  const ScoreInputs own = stored_inputs(replica, criterion);
  const std::int64_t most = std::max<std::int64_t>(1, kBlock / outputs());
  std::int64_t seen = 0;  // entries of `stored`
  for (std::int64_t input = 0; input < inputs(); input += most) {
    const std::int64_t rows = std::min(most, inputs() - input);
    const std::int64_t first = input * outputs(), length = rows * outputs();
    std::vector<std::int64_t> places;  // places of what is stored, in the block
    const std::int64_t begin = seen;
    while (seen < static_cast<std::int64_t>(stored.size()) && stored[seen] < first + length) {
      places.push_back(stored[seen++] - first);
    }
    const at::Tensor at_places = of_list(places);
    const auto block = [&](const at::Tensor& values) {
      at::Tensor all = torch::zeros({length}, values.options());
      return all.index_copy_(0, at_places, values.narrow(0, begin, seen - begin));
    };
    ScoreInputs inputs;
    inputs.weight = block(own.weight);
    for (const auto& [name, values] : own.slots) inputs.slots[name] = block(values);
    inputs.parameter = criterion.parameter;
    if (criterion.needs_gradient) inputs.gradient = dense_gradient(replica, input, rows).view(-1);
    if (criterion.needs_uniform) {
      inputs.uniform = uniforms(draw_stream(key, Draw::kScore), first, length);
    }
    if (criterion.needs_inputs) {
      inputs.input_scale = input_squares_.values()[replica].narrow(0, input, rows).sqrt();
      inputs.input_scale = inputs.input_scale.repeat_interleave(outputs());
    }
    at::Tensor flags;
    if (candidates != Candidates::kAll) {
      flags = torch::full({length}, candidates == Candidates::kInactive ? 1 : 0, torch::kByte);
      auto* flag = flags.data_ptr<std::uint8_t>();
      for (std::int64_t e = begin; e < seen; ++e) {
        if (active == nullptr || active[e] != 0)
          flag[stored[static_cast<std::size_t>(e)] - first] = candidates == Candidates::kActive;
      }
    }
    visit(of_topology.defined() ? of_topology.narrow(0, first, length) : criterion.score(inputs),
          flags);
  }
}

}  // namespace tandem
