#include "nn/context.h"

#include "data/tensor.h"

namespace tandem {

Post Post::relu() {
  Post post([](const at::Tensor& x) { return torch::relu(x); });
  post.is_relu_ = true;
  return post;
}

at::Tensor select_stream(const LevelPlan& plan, const at::Tensor& full, const at::Tensor& sparse) {
  if (plan.running == Running::kFull) return full;
  if (plan.running == Running::kSparse) return sparse;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(full.dim()), 1);
  shape[0] = full.size(0);
  return torch::where(plan.full_runs.view(shape), full, sparse);
}

void Context::align(const LevelPlan& plan, const at::Tensor& full, const at::Tensor& sparse) {
  const at::Tensor term =
      stream_distance(full, sparse, plan.pull_full, plan.pull_sparse, plan.distance);
  alignment_ = alignment_.defined() ? alignment_ + term : term;
}

at::Tensor Context::meet(const Site& site, const at::Tensor& full, const at::Tensor& sparse,
                         const Post& post) {
  const LevelPlan& plan = site.level == Level::kAttention ? attention : weights;
  const auto finish = [&post](const at::Tensor& x) { return post ? post(x) : x; };
  const bool site_is_post = plan.site == Alignment::Site::kPost;
  if (!full.defined() || !sparse.defined()) {
    const at::Tensor& only = full.defined() ? full : sparse;
    const at::Tensor after = finish(only);
    const at::Tensor& at_site = site_is_post ? after : only;
    const std::string key = level_name(site.level) + "/" + site.layer;
    if (keeps_) kept_[key] = at_site;
    if (other_ != nullptr && site.level == paired_level_) {
      const at::Tensor& partner = other_->kept_.at(key);
      if (observe_site) observe_site(site, partner, at_site);
      if (plan.pull_full.defined() && plan.site != Alignment::Site::kLogits) {
        align(plan, partner, at_site);
      }
    }
    return after;
  }
  const bool aligns = plan.pull_full.defined() && plan.site != Alignment::Site::kLogits;
  if (site_is_post && post) {
    const at::Tensor post_full = post(full), post_sparse = post(sparse);
    if (observe_site) observe_site(site, post_full, post_sparse);
    if (aligns) align(plan, post_full, post_sparse);
    return select_stream(plan, post_full, post_sparse);
  }
  if (observe_site) observe_site(site, full, sparse);
  if (aligns) align(plan, full, sparse);
  return finish(select_stream(plan, full, sparse));
}

void Context::meet_logits(const at::Tensor& logits) {
  if (keeps_) kept_["logits"] = logits;
  if (other_ == nullptr) return;
  const LevelPlan& plan = paired_level_ == Level::kAttention ? attention : weights;
  if (plan.pull_full.defined() && plan.site == Alignment::Site::kLogits) {
    align(plan, other_->kept_.at("logits"), logits);
  }
}

}  // namespace tandem
