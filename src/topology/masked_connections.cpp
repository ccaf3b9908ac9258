// This file has the masked storage's questions and products; its updates are in masked_update.cpp.
// Products are bmm and baddbmm also at R = 1, so that a run's bits do not depend on its company.
#include "topology/masked_connections.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "data/tensor.h"
#include "topology/batched_product.h"
#include "topology/local_product.h"
#include "topology/masked_weight.h"
#include "topology/sampled_choice.h"
#include "topology/saved_topology.h"

namespace tandem {
namespace {

constexpr std::int64_t kVisited = std::int64_t{1} << 20;  // positions of a visited block

// Returns the flags of a set, uint8 [n].
at::Tensor flags_of_set(const ActiveSet& set, std::int64_t n) {
  const at::Tensor row = torch::zeros({n}, torch::kByte);
  auto* flags = row.data_ptr<std::uint8_t>();
  for (const std::int64_t position : set.positions()) {
    if (position < n) flags[position] = 1;
  }
  return row;
}

}  // namespace

MaskedConnections::MaskedConnections(Parameter& parameter, const at::Tensor& mask)
    : Connections(parameter, parameter.value.size(0), parameter.value.size(1),
                  parameter.value.size(2)),
      grouping_({}, inputs(), outputs()) {
  const at::Tensor& w = parameter.value;
  TORCH_INTERNAL_ASSERT(w.defined() && w.dim() == 3 && w.is_contiguous(),
                        "a masked weight must be contiguous [R,in,out]");
  open_.assign(static_cast<std::size_t>(w.size(0)), 0);
  active_.assign(static_cast<std::size_t>(w.size(0)), positions());
  if (!mask.defined()) return;
  TORCH_INTERNAL_ASSERT(mask.numel() == w.numel() && mask.scalar_type() == torch::kByte, "mask ",
                        mask.sizes(), " of a weight ", w.sizes(), " must be uint8 and as large");
  mask_ = mask.ne(0).to(torch::kByte).to(w.device()).reshape({w.size(0), positions()}).contiguous();
  const at::Tensor counts = mask_.sum(1, false, torch::kLong).to(torch::kCPU);
  for (std::int64_t r = 0; r < w.size(0); ++r) active_[r] = counts[r].item<std::int64_t>();
}

void MaskedConnections::set_zero_dormant(bool zero_dormant) {
  zero_dormant_ = zero_dormant;
  if (zero_dormant && mask_.defined()) values().masked_fill_(mask_.eq(0), 0);
}

void MaskedConnections::set_granularity(const Granularity& granularity) {
  grouping_ = Grouping(granularity, parameter().value.size(1), parameter().value.size(2));
  blocks_.assign(active_.size(), grouping_.items());
  if (mask_.defined() && grouping_.has_blocks()) recount({0, replicas()});
  budget_ = active_;
}

bool MaskedConnections::all_active() const {
  if (!mask_.defined()) return true;
  for (const std::int64_t active : active_) {
    if (active != positions()) return false;
  }
  return true;
}

at::Tensor MaskedConnections::values() const {
  return parameter().flat().view({replicas(), positions()});
}

TwoStreams MaskedConnections::product(const at::Tensor& x, const at::Tensor& bias,
                                      const ProductPlan& plan) const {
  const at::Tensor& w = parameter().value;
  TORCH_INTERNAL_ASSERT(x.dim() == 3 && x.size(0) == w.size(0) && x.size(2) == w.size(1), "x ",
                        x.sizes(), " with W ", w.sizes(), "; expected [R,N,in] and [R,in,out]");
  const bool one_output = plan.selected || plan.full != plan.sparse;
  TORCH_INTERNAL_ASSERT(!plan.relu || (one_output && !plan.detached), "relu is of one output");
  if (input_squares_.expected()) input_squares_.note(x);
  TwoStreams y;
  if (plan.selected) {
    y.full = affine(x, selected_weight(plan), bias, plan, y.full_local);
    return y;
  }
  if (plan.full) y.full = affine(x, full_weight(plan), bias, plan, y.full_local);
  if (!plan.sparse) return y;
  const at::Tensor own = sparse_weight(plan);
  if (y.full.defined() && !plan.superset && own.is_same(w)) {
    y.sparse = y.full;
    y.sparse_local = y.full_local;
  } else {
    y.sparse = affine(x, own, bias, plan, y.sparse_local);
  }
  return y;
}

at::Tensor MaskedConnections::affine(const at::Tensor& x, const at::Tensor& w,
                                     const at::Tensor& bias, const ProductPlan& plan,
                                     at::Tensor& local) const {
  if (plan.detached) {
    const LocalProduct both = local_product(x, w, bias);
    local = both.y_local;
    return both.y;
  }
  const at::Tensor y = batched_product(x, w, bias);
  return plan.relu ? torch::relu(y) : y;
}

at::Tensor MaskedConnections::full_weight(const ProductPlan& plan) const {
  const at::Tensor& w = parameter().value;
  return plan.superset && superset_.defined() ? masked_weight(w, superset_, {}, true) : w;
}

at::Tensor MaskedConnections::sparse_weight(const ProductPlan& plan) const {
  const at::Tensor& w = parameter().value;
  if (plan.nested.defined()) {
    return masked_weight(w, nested_mask(plan.nested), {}, plan.mask_gradient);
  }
  if (all_active() || (zero_dormant_ && !plan.mask_gradient)) return w;
  return masked_weight(w, mask_, {}, plan.mask_gradient);
}

// Returns the weight of each replica's running stream. With mask_gradient the gradient is cut to
// what the stream uses.
at::Tensor MaskedConnections::selected_weight(const ProductPlan& plan) const {
  const at::Tensor& w = parameter().value;
  const bool narrowed = plan.superset && superset_.defined();
  if (plan.nested.defined()) {
    const at::Tensor full = plan.full_runs.to(torch::kByte).view({-1, 1});
    return masked_weight(w, nested_mask(plan.nested).bitwise_or(full), {}, plan.mask_gradient);
  }
  if (!narrowed && (zero_dormant_ || all_active())) return w;
  if (!narrowed) return masked_weight(w, mask_, plan.full_runs, false);
  const at::Tensor mask = mask_.defined() ? mask_ : torch::ones_like(superset_);
  const at::Tensor full = plan.full_runs.to(torch::kBool).view({-1, 1});
  return masked_weight(w, torch::where(full, superset_, mask), {}, false);
}

// Returns the mask of each replica's draw, uint8 [R,n].
at::Tensor MaskedConnections::nested_mask(const at::Tensor& draw) const {
  TORCH_INTERNAL_ASSERT(nested_.defined(), "nested masks of ", parameter().name,
                        " have not been chosen");
  return nested_.gt(draw.to(torch::kByte).view({-1, 1})).view(torch::kByte);
}

at::Tensor MaskedConnections::superset_flags() const {
  return superset_.defined() ? superset_.view(-1) : at::Tensor();
}

at::Tensor MaskedConnections::active_flags() const {
  return mask_.defined() ? mask_.view(-1) : at::Tensor();
}

at::Tensor MaskedConnections::dense_flags() const {
  if (mask_.defined()) return mask_.clone();
  return torch::ones({replicas(), positions()},
                     torch::TensorOptions(parameter().value.device()).dtype(torch::kByte));
}

std::vector<std::uint8_t> MaskedConnections::packed(const at::Tensor& all,
                                                    std::int64_t replica) const {
  TORCH_INTERNAL_ASSERT(replica >= 0 && replica < replicas());
  std::vector<std::uint8_t> bits(static_cast<std::size_t>((positions() + 7) / 8), 0);
  const at::Tensor row =
      all.defined() ? all[replica].to(torch::kCPU) : torch::ones({positions()}, torch::kByte);
  const auto* flags = row.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < positions(); ++i) {
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (flags[i] << (i % 8)));
  }
  return bits;
}

ActiveSet MaskedConnections::active_set(std::int64_t replica) const {
  return ActiveSet::of_bits(packed(mask_, replica));
}

ActiveSet MaskedConnections::superset(std::int64_t replica) const {
  return superset_.defined() ? ActiveSet::of_bits(packed(superset_, replica)) : ActiveSet();
}

// A GPU packs the bits, so that they come over in one copy.
std::vector<ActiveSet> MaskedConnections::active_sets(const std::vector<char>& wanted) const {
  if (!mask_.defined() || !mask_.is_cuda()) return Topology::active_sets(wanted);
  const std::int64_t bytes = (positions() + 7) / 8;
  const at::Tensor padded = torch::constant_pad_nd(mask_, {0, bytes * 8 - positions()}, 0);
  const at::Tensor place = torch::bitwise_left_shift(torch::ones({8}, mask_.options()),
                                                     torch::arange(8, mask_.options()));
  const at::Tensor there =
      padded.view({replicas(), bytes, 8}).mul(place).sum(2, false, torch::kUInt8);
  const at::Tensor all =  // [R,bytes]
      torch::empty(there.sizes(), torch::TensorOptions(torch::kUInt8).pinned_memory(true));
  all.copy_(there);
  std::vector<ActiveSet> sets(wanted.size());
  for_each_index(wanted.size(), host_threads(), [&](std::size_t r) {
    if (!wanted[r]) return;
    const auto* row = all.data_ptr<std::uint8_t>() + static_cast<std::int64_t>(r) * bytes;
    sets[r] = ActiveSet::of_bits({row, row + bytes});
  });
  return sets;
}

at::Tensor MaskedConnections::save_topology(std::int64_t replica) const {
  if (!mask_.defined() && !superset_.defined() && !nested_.defined()) return {};
  SavedTopology saved{parameter().value.size(1), parameter().value.size(2), active_set(replica)};
  saved.superset = superset(replica);
  for (std::int64_t i = 1; i < nested_masks_; ++i) {
    saved.nested.push_back(
        ActiveSet::of_bits(packed(nested_.narrow(0, replica, 1).gt(i).to(torch::kByte), 0)));
  }
  return saved.save();
}

void MaskedConnections::load_topology(std::int64_t replica, const at::Tensor& saved) {
  TORCH_INTERNAL_ASSERT(replica >= 0 && replica < replicas());
  if (!saved.defined()) {
    if (mask_.defined()) mask_[replica].fill_(1);
    active_[replica] = positions();
    if (grouping_.has_blocks()) blocks_[replica] = grouping_.items();
    return;
  }
  SavedTopology loaded = SavedTopology::load(saved, parameter().name, parameter().value.size(1),
                                             parameter().value.size(2));
  if (nested_.defined() && loaded.nested.empty()) loaded.nested = std::move(loaded.untold);
  if (!nested_.defined() && loaded.untold.size() == 1) loaded.superset = loaded.untold.front();
  const auto within = static_cast<std::int64_t>(loaded.nested.size());
  const bool told = nested_.defined() || loaded.untold.size() <= 1;
  if (loaded.listed || !told || within != std::max<std::int64_t>(1, nested_masks_) - 1) {
    throw StoreError(fmt::format(
        "the topology of {} in a checkpoint is {}; expected bits of a mask and of {} nested masks "
        "within it: resume with the model and the storage that wrote it, or train anew",
        parameter().name,
        loaded.listed ? "a list of what a sparse layer stores"
                      : fmt::format("bits of {} masks", 1 + within + loaded.untold.size()),
        std::max<std::int64_t>(1, nested_masks_) - 1));
  }
  const at::Tensor row = flags_of_set(loaded.mask, positions());
  allocate_mask();
  mask_[replica].copy_(row);
  active_[replica] = row.sum().item<std::int64_t>();
  if (grouping_.has_blocks()) recount({replica, 1});
  if (nested_.defined()) {
    const at::Tensor depth = row.clone();  // how many of the masks hold a position
    for (const ActiveSet& each : loaded.nested) depth.add_(flags_of_set(each, positions()));
    nested_[replica].copy_(depth);
  }
  if (!loaded.superset.known()) return;
  if (!superset_.defined()) superset_ = torch::ones_like(mask_);
  superset_[replica].copy_(flags_of_set(loaded.superset, positions()));
}

void MaskedConnections::scale(std::int64_t replica, Start::InitScale kind) {
  at::NoGradGuard no_grad;
  if (!mask_.defined() || kind == Start::InitScale::kDense) return;
  const at::Tensor& w = parameter().value;
  const at::Tensor own = mask_.view_as(w)[replica].to(w.scalar_type());  // [in,out]
  const at::Tensor share = kind == Start::InitScale::kFanIn
                               ? own.mean(0, true).clamp_min(1.0 / static_cast<double>(own.size(0)))
                               : own.mean();
  parameter().value[replica].div_(share.sqrt());
}

ScoreInputs MaskedConnections::score_inputs(const Criterion& criterion, const Rows& rows) const {
  ScoreInputs inputs;
  inputs.weight = rows.of(values());
  if (criterion.needs_gradient) {
    const at::Tensor& gradient = parameter().value.grad();
    TORCH_INTERNAL_ASSERT(gradient.defined(), "criterion ", criterion.name, " of ",
                          parameter().name, " needs the gradient of a backward pass");
    inputs.gradient = rows.of(gradient.detach().reshape({replicas(), positions()}));
  }
  if (criterion.needs_inputs) {
    TORCH_INTERNAL_ASSERT(input_squares_.known(), "criterion ", criterion.name, " of ",
                          parameter().name, " needs the inputs of a product");
    const std::int64_t outputs = parameter().value.size(2);
    inputs.input_scale = rows.of(input_squares_.values().sqrt().repeat_interleave(outputs, 1));
  }
  inputs.parameter = criterion.parameter;
  for (const auto& name : criterion.slots) {
    inputs.slots[name] = rows.of(parameter().slot(name).view({replicas(), positions()}));
  }
  return inputs;
}

// Returns the scores [q,n] of the rows' replicas. keys [R] are read by what draws, or looks at the
// topology.
at::Tensor MaskedConnections::scores(const Criterion& criterion, const Rows& rows,
                                     const std::vector<std::uint64_t>& keys) const {
  if (criterion.of_topology != nullptr) return topology_scores(criterion, rows, keys);
  ScoreInputs inputs = score_inputs(criterion, rows);
  if (criterion.needs_uniform) {
    std::vector<RandomStream> streams;
    for (std::int64_t r = rows.first; r < rows.first + rows.length; ++r) {
      streams.push_back(draw_stream(keys.at(r), Draw::kScore));
    }
    inputs.uniform = uniform_rows(streams, positions()).to(inputs.weight.device());
  }
  return criterion.score(inputs);
}

// This runs on the host, a replica per thread.
at::Tensor MaskedConnections::topology_scores(const Criterion& criterion, const Rows& rows,
                                              const std::vector<std::uint64_t>& keys) const {
  std::vector<char> wanted(static_cast<std::size_t>(replicas()), 0);
  std::fill_n(wanted.begin() + rows.first, rows.length, char{1});
  const std::vector<ActiveSet> active = active_sets(wanted);
  const at::Tensor host = rows.of(values()).to(torch::kCPU, torch::kDouble).contiguous();
  std::vector<at::Tensor> all(static_cast<std::size_t>(rows.length));
  for_each_index(all.size(), host_threads(), [&](std::size_t q) {
    const std::size_t r = static_cast<std::size_t>(rows.first) + q;
    const double* own = host.data_ptr<double>() + static_cast<std::int64_t>(q) * positions();
    const std::vector<std::int64_t> positions = active[r].positions();
    const at::Tensor weights =
        torch::empty({static_cast<std::int64_t>(positions.size())}, torch::kDouble);
    for (std::size_t e = 0; e < positions.size(); ++e) {
      weights.data_ptr<double>()[e] = own[positions[e]];
    }
    all[q] = criterion.of_topology(
        {active[r], parameter().value.size(1), parameter().value.size(2), keys.at(r), weights});
  });
  return torch::stack(all).to(parameter().value.options().requires_grad(false));
}

// Returns flags uint8 [n], which are undefined where all positions are asked for.
at::Tensor MaskedConnections::flags_among(std::int64_t replica, Candidates candidates) const {
  if (candidates == Candidates::kAll || (candidates == Candidates::kActive && !mask_.defined()))
    return {};
  if (candidates == Candidates::kActive) return mask_[replica];
  if (mask_.defined()) return mask_[replica].eq(0).to(torch::kByte);
  return torch::zeros({positions()},
                      torch::TensorOptions(parameter().value.device()).dtype(torch::kByte));
}

void MaskedConnections::visit_scores(
    std::int64_t replica, const Criterion& criterion, Candidates candidates,
    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>& visit) const {
  TORCH_INTERNAL_ASSERT(criterion.score != nullptr && !criterion.needs_uniform, criterion.name,
                        " has no scores that a visit can read");
  at::NoGradGuard no_grad;
  const ScoreInputs all = score_inputs(criterion, {replica, 1});
  const at::Tensor flags = flags_among(replica, candidates);
  if (grouping_.has_blocks()) {
    const at::Tensor eligible = flags.defined() ? flags.unsqueeze(0) : flags;
    visit(grouping_.item_scores(criterion.score(all), eligible)[0],
          flags.defined() ? grouping_.item_flags(eligible)[0] : flags);
    return;
  }
  for (std::int64_t first = 0; first < positions(); first += kVisited) {
    const std::int64_t length = std::min(kVisited, positions() - first);
    const auto block = [&](const at::Tensor& rows) { return rows[0].narrow(0, first, length); };
    ScoreInputs inputs;
    inputs.weight = block(all.weight);
    if (all.gradient.defined()) inputs.gradient = block(all.gradient);
    if (all.input_scale.defined()) inputs.input_scale = block(all.input_scale);
    inputs.parameter = all.parameter;
    for (const auto& [name, values] : all.slots) inputs.slots[name] = block(values);
    visit(criterion.score(inputs), flags.defined() ? flags.narrow(0, first, length) : flags);
  }
}

}  // namespace tandem
