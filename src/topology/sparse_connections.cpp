// Questions and products of the sparse storage; updates are in sparse_update.cpp.
#include "topology/sparse_connections.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "data/tensor.h"
#include "topology/sparse_product.h"

namespace tandem {
namespace {

constexpr std::int64_t kBlock = std::int64_t{1} << 18;  // positions of a visited block, about

at::Tensor of_list(std::vector<std::int64_t>& values) {  // shares memory
  return torch::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, torch::kLong);
}

bool ascending_below(const std::int64_t* positions, std::int64_t count, std::int64_t end) {
  std::int64_t least = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (positions[i] < least || positions[i] >= end) return false;
    least = positions[i] + 1;
  }
  return true;
}

}  // namespace

SparseConnections::SparseConnections(Parameter& parameter, std::int64_t inputs,
                                     std::int64_t outputs,
                                     const std::vector<std::vector<std::int64_t>>& positions)
    : parameter_(&parameter), inputs_(inputs), outputs_(outputs) {
  for (const auto& own : positions) index_.emplace_back(inputs, outputs, own);
  TORCH_INTERNAL_ASSERT(parameter.value.dim() == 1 && parameter.value.is_cpu() &&
                            parameter.value.numel() == segments().back(),
                        "sparse values of shape ", parameter.value.sizes(), " for ",
                        segments().back(), " connections");
  parameter.connections = this;
}

std::int64_t SparseConnections::active(std::int64_t replica) const {
  const auto drafted = drafts_.find(replica);
  return drafted != drafts_.end() ? drafted->second.active_count()
                                  : index_.at(static_cast<std::size_t>(replica)).count();
}

std::vector<std::int64_t> SparseConnections::segments() const {
  std::vector<std::int64_t> offsets = {0};
  for (const SparseIndex& own : index_) offsets.push_back(offsets.back() + own.count());
  return offsets;
}

TwoStreams SparseConnections::product(const at::Tensor& x, const at::Tensor& bias,
                                      const ProductPlan& plan) const {
  TORCH_INTERNAL_ASSERT(x.dim() == 3 && x.size(0) == replicas() && x.size(2) == inputs_, "x ",
                        x.sizes(), " for ", replicas(), " replicas of ", inputs_, " inputs");
  // Nothing dormant has a value, so that both streams are the same.
  if (expects_inputs_) {
    const at::NoGradGuard no_grad;
    input_squares_ = x.detach().square().mean(1);
  }
  const at::Tensor y = sparse_product(*this, parameter_->value, x, bias, plan.relu);
  TwoStreams streams;
  if (plan.selected || plan.full) streams.full = y;
  if (!plan.selected && plan.sparse) streams.sparse = y;
  return streams;
}

ActiveSet SparseConnections::active_set(std::int64_t replica) const {
  const auto drafted = drafts_.find(replica);
  return ActiveSet::of_positions(drafted != drafts_.end()
                                     ? drafted->second.active_positions()
                                     : index_.at(static_cast<std::size_t>(replica)).positions());
}

// int64: inputs, outputs, then the positions.
at::Tensor SparseConnections::save_topology(std::int64_t replica) const {
  std::vector<std::int64_t> positions = index_.at(static_cast<std::size_t>(replica)).positions();
  positions.insert(positions.begin(), {inputs_, outputs_});
  return of_list(positions).clone();
}

void SparseConnections::load_topology(std::int64_t replica, const at::Tensor& saved) {
  const bool list = saved.scalar_type() == torch::kLong && saved.numel() >= 2;
  const auto* begin = list ? saved.data_ptr<std::int64_t>() : nullptr;
  if (!list || begin[0] != inputs_ || begin[1] != outputs_ ||
      !ascending_below(begin + 2, saved.numel() - 2, positions())) {
    throw StoreError("the connections of " + parameter_->name +
                     " in a checkpoint are not those of a sparse layer of " +
                     std::to_string(inputs_) + " inputs and " + std::to_string(outputs_) +
                     " outputs, in order; train anew");
  }
  at::NoGradGuard no_grad;
  begin += 2;
  Draft loaded;
  const std::int64_t count = saved.numel() - 2;
  loaded.positions.assign(begin, begin + count);
  loaded.values = torch::zeros({count}, parameter_->flat().options());
  for (const auto& [name, slot] : parameter_->slots) {
    loaded.slots[name] = torch::full({count}, slot.newborn, slot.values.options());
  }
  replace({{replica, std::move(loaded)}});
}

void SparseConnections::scale(std::int64_t replica, Start::InitScale kind) {
  if (kind == Start::InitScale::kDense) return;
  at::NoGradGuard no_grad;
  const SparseIndex& own = index_.at(static_cast<std::size_t>(replica));
  at::Tensor values = parameter_->segment(parameter_->flat(), replica);
  if (kind == Start::InitScale::kDensity) {
    values.div_(std::sqrt(static_cast<double>(own.count()) / static_cast<double>(positions())));
    return;
  }
  std::vector<std::int64_t> fan_in = own.fan_in(), units = own.outputs_of_positions();
  const at::Tensor share = of_list(fan_in).to(values.scalar_type()) / inputs_;
  values.div_(share.sqrt().index_select(0, of_list(units)));
}

void SparseConnections::expect_gradient(bool expected) {
  expects_gradient_ = expected;
  factors_.clear();
}

at::Tensor SparseConnections::dense_values() const {
  const at::Tensor dense = torch::zeros({replicas(), positions()}, parameter_->flat().options());
  for (std::int64_t r = 0; r < replicas(); ++r) {
    std::vector<std::int64_t> own = index_[static_cast<std::size_t>(r)].positions();
    dense[r].index_copy_(0, of_list(own), parameter_->segment(parameter_->flat(), r));
  }
  return dense.view({replicas(), inputs_, outputs_});
}

at::Tensor SparseConnections::dense_flags() const {
  const at::Tensor flags = torch::zeros({replicas(), positions()}, torch::kByte);
  for (std::int64_t r = 0; r < replicas(); ++r) {
    std::vector<std::int64_t> own = index_[static_cast<std::size_t>(r)].positions();
    flags[r].index_fill_(0, of_list(own), 1);
  }
  return flags;
}

at::Tensor SparseConnections::values_of(std::int64_t replica) const {
  const auto drafted = drafts_.find(replica);
  return drafted != drafts_.end() ? drafted->second.values
                                  : parameter_->segment(parameter_->flat(), replica);
}

ScoreInputs SparseConnections::stored_inputs(std::int64_t replica,
                                             const Criterion& criterion) const {
  ScoreInputs inputs;
  inputs.weight = values_of(replica);
  inputs.parameter = criterion.parameter;
  const auto drafted = drafts_.find(replica);
  if (criterion.needs_inputs) {
    TORCH_INTERNAL_ASSERT(input_squares_.defined(), "criterion ", criterion.name, " of ",
                          parameter_->name, " needs the inputs of a product");
    const std::vector<std::int64_t>& stored =
        drafted != drafts_.end() ? drafted->second.positions
                                 : index_.at(static_cast<std::size_t>(replica)).positions();
    std::vector<std::int64_t> units;
    for (const std::int64_t position : stored) units.push_back(position / outputs_);
    inputs.input_scale = input_squares_[replica].sqrt().index_select(0, of_list(units));
  }
  for (const std::string& name : criterion.slots) {
    inputs.slots[name] = drafted != drafts_.end()
                             ? drafted->second.slots.at(name)
                             : parameter_->segment(parameter_->slot(name), replica);
  }
  return inputs;
}

void SparseConnections::visit_scores(
    std::int64_t replica, const Criterion& criterion, Among among,
    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>& visit) const {
  TORCH_INTERNAL_ASSERT(criterion.score != nullptr, criterion.name, " has no scores");
  at::NoGradGuard no_grad;
  for (const std::string& name : criterion.slots) parameter_->slot(name);
  if (among != Among::kActive || criterion.needs_gradient) {
    visit_blocks(replica, criterion, among, /*key=*/0, visit);
    return;
  }
  const auto drafted = drafts_.find(replica);
  at::Tensor flags;
  if (drafted != drafts_.end()) {
    auto& active = const_cast<std::vector<std::uint8_t>&>(drafted->second.active);
    flags =
        torch::from_blob(active.data(), {static_cast<std::int64_t>(active.size())}, torch::kByte);
  }
  visit(criterion.score(stored_inputs(replica, criterion)), flags);
}

// Sum over the backward passes kept, x^T dy of these inputs.
at::Tensor SparseConnections::dense_gradient(std::int64_t replica, std::int64_t first_input,
                                             std::int64_t inputs) const {
  TORCH_INTERNAL_ASSERT(!factors_.empty(), "the dense gradient of ", parameter_->name,
                        " was not expected in the last backward pass");
  at::Tensor gradient;  // [inputs,out]
  for (const Factors& each : factors_) {
    const at::Tensor x = each.x[replica].narrow(1, first_input, inputs);  // [N,inputs]
    const at::Tensor own = torch::mm(x.t(), each.dy[replica]);
    gradient = gradient.defined() ? gradient + own : own;
  }
  return gradient;
}

void SparseConnections::visit_blocks(
    std::int64_t replica, const Criterion& criterion, Among among, std::uint64_t key,
    const std::function<void(const at::Tensor&, const at::Tensor&)>& visit) const {
  const auto drafted = drafts_.find(replica);
  const bool draft = drafted != drafts_.end();
  at::Tensor of_topology;  // [in*out]
  if (criterion.of_topology != nullptr) {
    const ActiveSet active = active_set(replica);
    of_topology =
        criterion.of_topology({active, inputs_, outputs_, key}).to(parameter_->value.scalar_type());
  }
  const std::vector<std::int64_t> stored =
      draft ? drafted->second.positions : index_.at(static_cast<std::size_t>(replica)).positions();
  const ScoreInputs own = stored_inputs(replica, criterion);
  const std::int64_t most = std::max<std::int64_t>(1, kBlock / outputs_);
  std::int64_t seen = 0;  // of `stored`
  for (std::int64_t input = 0; input < inputs_; input += most) {
    const std::int64_t rows = std::min(most, inputs_ - input);
    const std::int64_t first = input * outputs_, length = rows * outputs_;
    std::vector<std::int64_t> places;  // of what is stored, in the block
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
    if (criterion.needs_inputs) {
      inputs.input_scale = input_squares_[replica].narrow(0, input, rows).sqrt();
      inputs.input_scale = inputs.input_scale.repeat_interleave(outputs_);
    }
    at::Tensor flags;
    if (among != Among::kAll) {
      flags = torch::full({length}, among == Among::kInactive ? 1 : 0, torch::kByte);
      auto* flag = flags.data_ptr<std::uint8_t>();
      for (std::int64_t e = begin; e < seen; ++e) {
        const bool active = !draft || drafted->second.active[static_cast<std::size_t>(e)] != 0;
        if (active) flag[stored[static_cast<std::size_t>(e)] - first] = among == Among::kActive;
      }
    }
    visit(of_topology.defined() ? of_topology.narrow(0, first, length) : criterion.score(inputs),
          flags);
  }
}

}  // namespace tandem
