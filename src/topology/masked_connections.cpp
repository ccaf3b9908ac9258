// Questions and products of the masked storage; updates are in masked_update.cpp.
// Products are bmm and baddbmm also at R = 1, so that a run's bits do not depend on its company.
#include "topology/masked_connections.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "data/tensor.h"
#include "topology/masked_weight.h"

namespace tandem {
namespace {

constexpr std::int64_t kBlock = std::int64_t{1} << 20;  // positions of a visited block

at::Tensor affine(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  if (!bias.defined()) return torch::bmm(x, w);
  return torch::baddbmm(bias.unsqueeze(1), x, w);  // [R,1,out] + [R,N,in] [R,in,out]
}

}  // namespace

MaskedConnections::MaskedConnections(Parameter& parameter, const at::Tensor& mask)
    : parameter_(&parameter) {
  const at::Tensor& w = parameter.value;
  TORCH_INTERNAL_ASSERT(w.defined() && w.dim() == 3 && w.is_contiguous(),
                        "a masked weight must be contiguous [R,in,out]");
  positions_ = w.size(1) * w.size(2);
  open_.assign(static_cast<std::size_t>(w.size(0)), 0);
  active_.assign(static_cast<std::size_t>(w.size(0)), positions_);
  parameter.connections = this;
  if (!mask.defined()) return;
  TORCH_INTERNAL_ASSERT(mask.numel() == w.numel() && mask.scalar_type() == torch::kByte, "mask ",
                        mask.sizes(), " of a weight ", w.sizes(), " must be uint8 and as large");
  mask_ = mask.ne(0).to(torch::kByte).to(w.device()).reshape({w.size(0), positions_}).contiguous();
  const at::Tensor counts = mask_.sum(1, false, torch::kLong).to(torch::kCPU);
  for (std::int64_t r = 0; r < w.size(0); ++r) active_[r] = counts[r].item<std::int64_t>();
}

void MaskedConnections::set_zero_dormant(bool zero_dormant) {
  zero_dormant_ = zero_dormant;
  if (zero_dormant && mask_.defined()) values().masked_fill_(mask_.eq(0), 0);
}

bool MaskedConnections::all_active() const {
  if (!mask_.defined()) return true;
  for (const std::int64_t active : active_) {
    if (active != positions_) return false;
  }
  return true;
}

at::Tensor MaskedConnections::values() const {
  return parameter_->flat().view({replicas(), positions_});
}

TwoStreams MaskedConnections::product(const at::Tensor& x, const at::Tensor& bias,
                                      const ProductPlan& plan) const {
  const at::Tensor& w = parameter_->value;
  TORCH_INTERNAL_ASSERT(x.dim() == 3 && x.size(0) == w.size(0) && x.size(2) == w.size(1), "x ",
                        x.sizes(), " with W ", w.sizes(), "; expected [R,N,in] and [R,in,out]");
  TORCH_INTERNAL_ASSERT(!plan.relu || plan.selected || plan.full != plan.sparse,
                        "relu is of one output");
  const auto finish = [&](const at::Tensor& y) { return plan.relu ? torch::relu(y) : y; };
  const bool unmasked = zero_dormant_ || all_active();
  TwoStreams y;
  if (plan.selected) {
    y.full = finish(affine(x, unmasked ? w : masked_weight(w, mask_, plan.full_runs, false), bias));
    return y;
  }
  if (plan.full) y.full = finish(affine(x, w, bias));
  if (!plan.sparse) return y;
  if (all_active() || (zero_dormant_ && !plan.mask_gradient)) {
    y.sparse = y.full.defined() ? y.full : finish(affine(x, w, bias));
  } else {
    y.sparse = finish(affine(x, masked_weight(w, mask_, {}, plan.mask_gradient), bias));
  }
  return y;
}

at::Tensor MaskedConnections::active_flags() const {
  return mask_.defined() ? mask_.view(-1) : at::Tensor();
}

at::Tensor MaskedConnections::dense_flags() const {
  if (mask_.defined()) return mask_.clone();
  return torch::ones({replicas(), positions_},
                     torch::TensorOptions(parameter_->value.device()).dtype(torch::kByte));
}

std::vector<std::uint8_t> MaskedConnections::packed(std::int64_t replica) const {
  TORCH_INTERNAL_ASSERT(replica >= 0 && replica < replicas());
  std::vector<std::uint8_t> bits(static_cast<std::size_t>((positions_ + 7) / 8), 0);
  const at::Tensor row =
      mask_.defined() ? mask_[replica].to(torch::kCPU) : torch::ones({positions_}, torch::kByte);
  const auto* flags = row.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < positions_; ++i) {
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (flags[i] << (i % 8)));
  }
  return bits;
}

ActiveSet MaskedConnections::active_set(std::int64_t replica) const {
  return ActiveSet::of_bits(packed(replica));
}

// On a GPU the bits are packed there, and come over at once.
std::vector<ActiveSet> MaskedConnections::active_sets(const std::vector<char>& wanted) const {
  if (!mask_.defined() || !mask_.is_cuda()) return Connections::active_sets(wanted);
  const std::int64_t bytes = (positions_ + 7) / 8;
  const at::Tensor padded = torch::constant_pad_nd(mask_, {0, bytes * 8 - positions_}, 0);
  const at::Tensor place = torch::bitwise_left_shift(torch::ones({8}, mask_.options()),
                                                     torch::arange(8, mask_.options()));
  const at::Tensor there =
      padded.view({replicas(), bytes, 8}).mul(place).sum(2, false, torch::kUInt8);
  const at::Tensor all =  // [R,bytes]
      torch::empty(there.sizes(), torch::TensorOptions(torch::kUInt8).pinned_memory(true));
  all.copy_(there);
  std::vector<ActiveSet> sets(wanted.size());
  for_each_index(wanted.size(), at::get_num_threads(), [&](std::size_t r) {
    if (!wanted[r]) return;
    const auto* row = all.data_ptr<std::uint8_t>() + static_cast<std::int64_t>(r) * bytes;
    sets[r] = ActiveSet::of_bits({row, row + bytes});
  });
  return sets;
}

at::Tensor MaskedConnections::save_topology(std::int64_t replica) const {
  if (!mask_.defined()) return {};
  const std::vector<std::uint8_t> bits = packed(replica);
  const at::Tensor saved = torch::empty({static_cast<std::int64_t>(bits.size())}, torch::kByte);
  std::copy(bits.begin(), bits.end(), saved.data_ptr<std::uint8_t>());
  return saved;
}

void MaskedConnections::load_topology(std::int64_t replica, const at::Tensor& saved) {
  TORCH_INTERNAL_ASSERT(replica >= 0 && replica < replicas());
  if (!saved.defined()) {
    if (mask_.defined()) mask_[replica].fill_(1);
    active_[replica] = positions_;
    return;
  }
  const std::int64_t bytes = (positions_ + 7) / 8;
  if (saved.scalar_type() != torch::kByte || saved.numel() != bytes) {
    throw StoreError(fmt::format(
        "the topology of {} in a checkpoint has {} numbers; expected {} bytes, the packed mask of "
        "{} positions: resume with the model and the storage that wrote it, or train anew",
        parameter_->name, saved.numel(), bytes, positions_));
  }
  const at::Tensor host = saved.to(torch::kCPU).contiguous();
  const auto* bits = host.data_ptr<std::uint8_t>();
  const at::Tensor row = torch::empty({positions_}, torch::kByte);
  auto* flags = row.data_ptr<std::uint8_t>();
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < positions_; ++i) {
    flags[i] = bits[i / 8] >> (i % 8) & 1;
    count += flags[i];
  }
  allocate_mask();
  mask_[replica].copy_(row);
  active_[replica] = count;
}

void MaskedConnections::scale(std::int64_t replica, Start::InitScale kind) {
  at::NoGradGuard no_grad;
  if (!mask_.defined() || kind == Start::InitScale::kDense) return;
  const at::Tensor& w = parameter_->value;
  const at::Tensor own = mask_.view_as(w)[replica].to(w.scalar_type());  // [in,out]
  const at::Tensor share = kind == Start::InitScale::kFanIn
                               ? own.mean(0, true).clamp_min(1.0 / static_cast<double>(own.size(0)))
                               : own.mean();
  parameter_->value[replica].div_(share.sqrt());
}

ScoreInputs MaskedConnections::score_inputs(const Criterion& criterion, const Rows& rows) const {
  ScoreInputs inputs;
  inputs.weight = rows.of(values());
  if (criterion.needs_gradient) {
    const at::Tensor& gradient = parameter_->value.grad();
    TORCH_INTERNAL_ASSERT(gradient.defined(), "criterion ", criterion.name, " of ",
                          parameter_->name, " needs the gradient of a backward pass");
    inputs.gradient = rows.of(gradient.detach().reshape({replicas(), positions_}));
  }
  for (const auto& name : criterion.slots) {
    inputs.slots[name] = rows.of(parameter_->slot(name).view({replicas(), positions_}));
  }
  return inputs;
}

// uint8 [n]; undefined: all are.
at::Tensor MaskedConnections::flags_among(std::int64_t replica, Among among) const {
  if (among == Among::kAll || (among == Among::kActive && !mask_.defined())) return {};
  if (among == Among::kActive) return mask_[replica];
  if (mask_.defined()) return mask_[replica].eq(0).to(torch::kByte);
  return torch::zeros({positions_},
                      torch::TensorOptions(parameter_->value.device()).dtype(torch::kByte));
}

void MaskedConnections::visit_scores(
    std::int64_t replica, const Criterion& criterion, Among among,
    const std::function<void(const at::Tensor& scores, const at::Tensor& flags)>& visit) const {
  TORCH_INTERNAL_ASSERT(criterion.score != nullptr, criterion.name, " has no scores");
  at::NoGradGuard no_grad;
  const ScoreInputs all = score_inputs(criterion, {replica, 1});
  const at::Tensor flags = flags_among(replica, among);
  for (std::int64_t first = 0; first < positions_; first += kBlock) {
    const std::int64_t length = std::min(kBlock, positions_ - first);
    const auto block = [&](const at::Tensor& rows) { return rows[0].narrow(0, first, length); };
    ScoreInputs inputs;
    inputs.weight = block(all.weight);
    if (all.gradient.defined()) inputs.gradient = block(all.gradient);
    for (const auto& [name, values] : all.slots) inputs.slots[name] = block(values);
    visit(criterion.score(inputs), flags.defined() ? flags.narrow(0, first, length) : flags);
  }
}

}  // namespace tandem
