// The last hidden features of examples, which read-outs by the nearest mean and the choice of
// exemplars compare.
#include <algorithm>

#include "data/tensor.h"
#include "train/trainer.h"

namespace tandem {
namespace {

constexpr std::size_t kFeatureRows = 128;  // that pass at once

}  // namespace

at::Tensor Trainer::features(const at::Tensor& x, Context context) {
  const Linear* last = model_->linears().back();
  at::Tensor read;
  context.observe_product = [&](const Linear& layer, const at::Tensor& input, const at::Tensor&) {
    if (&layer == last) read = input;
  };
  model_->forward(x, context);
  return read;
}

std::vector<at::Tensor> Trainer::features_of(const std::vector<std::vector<std::int64_t>>& examples,
                                             const Context& context) {
  const at::NoGradGuard no_grad;
  const std::int64_t width = model_->linears().back()->inputs();
  std::vector<at::Tensor> all;
  std::size_t longest = 0;
  for (const auto& own : examples) {
    all.push_back(torch::empty({static_cast<std::int64_t>(own.size()), width}, options_.dtype));
    longest = std::max(longest, own.size());
  }
  for (std::size_t begin = 0; begin < longest; begin += kFeatureRows) {
    const auto part = part_of(examples, begin, kFeatureRows);
    const Batch batch =
        batches_.make(part, static_cast<std::int64_t>(kFeatureRows), OutputsOf::kAll);
    const at::Tensor rows = features(batch.x, context).to(torch::kCPU);
    for (std::size_t r = 0; r < part.size(); ++r) {
      const auto count = static_cast<std::int64_t>(part[r].size());
      if (count == 0) continue;
      all[r]
          .narrow(0, static_cast<std::int64_t>(begin), count)
          .copy_(rows[static_cast<std::int64_t>(r)].narrow(0, 0, count));
    }
  }
  return all;
}

}  // namespace tandem
