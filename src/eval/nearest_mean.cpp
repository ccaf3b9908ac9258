#include "eval/nearest_mean.h"

#include <vector>

#include "data/tensor.h"

namespace tandem {
namespace {

constexpr double kFartherThanAny = -5;  // squared distances of unit vectors are at most 4

}  // namespace

NearestMean::NearestMean(Trainer& trainer, const Context& context) {
  const std::int64_t width = trainer.model().linears().back()->inputs();
  std::vector<std::vector<std::int64_t>> all;
  std::vector<std::vector<std::size_t>> counts;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
    auto& own = all.emplace_back();
    auto& by_output = counts.emplace_back();
    for (const auto& each : trainer.exemplars(r)) {
      own.insert(own.end(), each.begin(), each.end());
      by_output.push_back(each.size());
    }
  }
  std::vector<at::Tensor> features = trainer.features_of(all, context);
  for (at::Tensor& each : features) each = unit_features(each);
  std::vector<at::Tensor> means, known;
  for (std::size_t r = 0; r < all.size(); ++r) {
    const auto outputs = static_cast<std::int64_t>(counts[r].size());
    at::Tensor mean = torch::zeros({width, outputs}, torch::kFloat64);
    at::Tensor has = torch::zeros({1, outputs}, torch::kBool);
    std::int64_t first = 0;
    for (std::int64_t c = 0; c < outputs; ++c) {
      const auto count = static_cast<std::int64_t>(counts[r][static_cast<std::size_t>(c)]);
      if (count == 0) continue;
      const at::Tensor own = features[r].narrow(0, first, count).mean(0);
      mean.select(1, c).copy_(own / own.norm().clamp_min(1e-30));
      has.select(1, c).fill_(true);
      first += count;
    }
    means.push_back(mean);
    known.push_back(has);
  }
  const at::Tensor& like = trainer.model().linears().back()->weight.value;
  means_ = torch::stack(means).to(like.options().requires_grad(false));
  known_ = torch::stack(known).to(like.device());
}

at::Tensor NearestMean::scores(Trainer& trainer, const at::Tensor& x,
                               const Context& context) const {
  const at::Tensor features = trainer.features(x, context);
  const at::Tensor unit = features / features.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-30);
  // Means have norm one, so that examples without any feature are as far from each; so is a mean of
  // nothing taken to be.
  const at::Tensor away = unit.square().sum(-1, true) + 1 - 2 * torch::bmm(unit, means_);
  return torch::where(known_, away.neg(), torch::full({}, kFartherThanAny, away.options()));
}

at::Tensor NearestMean::weights(std::int64_t r) const {
  return means_[r].to(torch::kCPU).clone(at::MemoryFormat::Contiguous);
}

}  // namespace tandem
