#include "nn/context.h"

#include "data/tensor.h"
#include "nn/own_outputs.h"

namespace tandem {

Epilogue Epilogue::relu() {
  Epilogue epilogue([](const at::Tensor& x) { return torch::relu(x); });
  epilogue.is_relu_ = true;
  return epilogue;
}

Epilogue Epilogue::after_norm(Function norm, Function rest) {
  Epilogue epilogue(std::move(rest));
  epilogue.norm_ = std::move(norm);
  return epilogue;
}

at::Tensor full_runs_at(const LevelPlan& plan, std::int64_t layer) {
  if (!plan.layer_full_runs.defined()) return plan.full_runs;
  return plan.layer_full_runs.select(1, layer).contiguous();
}

at::Tensor select_stream(const LevelPlan& plan, std::int64_t layer, const at::Tensor& full,
                         const at::Tensor& sparse) {
  if (plan.running == RunningStream::kFull) return full;
  if (plan.running == RunningStream::kSparse) return sparse;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(full.dim()), 1);
  shape[0] = full.size(0);
  return torch::where(full_runs_at(plan, layer).reshape(shape), full, sparse);
}

namespace {

// Each example gets the rows of the next example, and the last one those of the first.
at::Tensor next_example(const at::Tensor& x, std::int64_t rows) {
  return torch::roll(x.detach(), -rows, 1);
}

// The first function takes x to where the plan's alignment site lies, the second from there to the
// block's end.
at::Tensor up_to_site(const LevelPlan& plan, const Epilogue& epilogue, const at::Tensor& x) {
  if (plan.site == Alignment::Site::kPost) return epilogue(x);
  return plan.site == Alignment::Site::kNorm ? epilogue.norm(x) : x;
}

at::Tensor from_site(const LevelPlan& plan, const Epilogue& epilogue, const at::Tensor& x) {
  if (plan.site == Alignment::Site::kPost) return x;
  return plan.site == Alignment::Site::kNorm ? epilogue.rest(x) : epilogue(x);
}

bool aligns_layers(const LevelPlan& plan) {
  return plan.full_coefficient.defined() && plan.site != Alignment::Site::kLogits;
}

}  // namespace

void Context::align(Level level, const at::Tensor& full, const at::Tensor& sparse,
                    const at::Tensor& allowed) {
  const LevelPlan& plan = plans[level];
  if (plan.measures_gap) {
    measure_gap(level, own_outputs(full, allowed), own_outputs(sparse, allowed));
  }
  at::Tensor term;
  if (plan.shuffled) {
    const at::Tensor none = torch::zeros_like(plan.full_coefficient);
    term = stream_distance(full, next_example(sparse, rows_per_example), plan.full_coefficient,
                           none, plan.distance, allowed) +
           stream_distance(next_example(full, rows_per_example), sparse, none,
                           plan.sparse_coefficient, plan.distance, allowed);
  } else {
    term = stream_distance(full, sparse, plan.full_coefficient, plan.sparse_coefficient,
                           plan.distance, allowed);
  }
  alignment_ = alignment_.defined() ? alignment_ + term : term;
}

void Context::measure_gap(Level level, const at::Tensor& full, const at::Tensor& sparse) {
  at::NoGradGuard no_grad;
  const auto squares = [](const at::Tensor& x) {
    return x.reshape({x.size(0), -1}).square().sum(1);
  };
  const at::Tensor all = squares(full);
  // Streams that are both zero have no gap.
  const at::Tensor gap = squares(full - sparse) / torch::where(all > 0, all, torch::ones_like(all));
  Gaps& gaps = gaps_[level];
  gaps.sum = gaps.sum.defined() ? gaps.sum + gap : gap;
  ++gaps.count;
}

at::Tensor Context::gap(Level level) const {
  const Gaps& gaps = gaps_[level];
  return gaps.sum.defined() ? gaps.sum / static_cast<double>(gaps.count) : gaps.sum;
}

void Context::add_model_loss(const at::Tensor& term) {
  model_loss_ = model_loss_.defined() ? model_loss_ + term : term;
}

at::Tensor Context::align_and_select(const Site& site, const at::Tensor& full,
                                     const at::Tensor& sparse, const Epilogue& epilogue,
                                     const at::Tensor& full_local, const at::Tensor& sparse_local) {
  const LevelPlan& plan = plans[site.level];
  if (full.defined() && sparse.defined()) {
    const at::Tensor full_there = up_to_site(plan, epilogue, full);
    const at::Tensor sparse_there = up_to_site(plan, epilogue, sparse);
    if (observe_site) observe_site(site, full_there, sparse_there);
    if (aligns_layers(plan)) {
      const bool local = full_local.defined();
      align(site.level, local ? up_to_site(plan, epilogue, full_local) : full_there,
            local ? up_to_site(plan, epilogue, sparse_local) : sparse_there);
    }
    return from_site(plan, epilogue, select_stream(plan, site.index, full_there, sparse_there));
  }
  const at::Tensor there = up_to_site(plan, epilogue, full.defined() ? full : sparse);
  const std::string key = level_name(site.level) + "/" + site.layer;
  if (keeps_) kept_[key] = there;
  if (other_ != nullptr && site.level == paired_level_) {
    const at::Tensor& partner = other_->kept_.at(key);
    if (observe_site) observe_site(site, partner, there);
    if (aligns_layers(plan)) align(site.level, partner, there);
  }
  return from_site(plan, epilogue, there);
}

void Context::align_logits(const at::Tensor& logits) {
  if (keeps_) kept_["logits"] = logits;
  if (other_ == nullptr) return;
  const LevelPlan& plan = plans[paired_level_];
  if (plan.full_coefficient.defined() && plan.site == Alignment::Site::kLogits) {
    align(paired_level_, other_->kept_.at("logits"), logits, outputs_allowed);
  }
}

}  // namespace tandem
