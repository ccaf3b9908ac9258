#include "nn/attention/metrics.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/shape.h"
#include "data/tensor.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

void check_alike(const at::Tensor& weights, const at::Tensor& selected) {
  if (selected.sizes() == weights.sizes()) return;
  throw std::invalid_argument("selected has shape " + shape_text(selected.sizes()) +
                              ", expected that of weights, " + shape_text(weights.sizes()));
}

at::Tensor causal(const at::Tensor& weights) {
  const std::int64_t tokens = weights.size(-1);
  return torch::ones({tokens, tokens}, weights.options().dtype(torch::kBool)).tril();
}

// Sums over the keys of each block: [...,T,T] becomes [...,T,NB].
at::Tensor mass_of_blocks(const at::Tensor& weights, std::int64_t block_size) {
  const std::int64_t tokens = weights.size(-1);
  const std::int64_t blocks = (tokens + block_size - 1) / block_size;
  std::vector<std::int64_t> shape = weights.sizes().vec();
  shape.back() = blocks;
  shape.push_back(block_size);
  return torch::constant_pad_nd(weights, {0, blocks * block_size - tokens}, 0)
      .reshape(shape)
      .sum(-1);
}

}  // namespace

at::Tensor kept_mass(const at::Tensor& weights, const at::Tensor& selected) {
  check_alike(weights, selected);
  return (weights * selected).sum(-1);
}

at::Tensor dropped_mass(const at::Tensor& weights, const at::Tensor& selected) {
  check_alike(weights, selected);
  return (weights * selected.logical_not()).sum(-1);
}

at::Tensor entropy_bits(const at::Tensor& weights) {
  return -torch::xlogy(weights, weights).sum(-1) / std::log(2.0);
}

at::Tensor oracle_mass(const at::Tensor& weights, std::int64_t block_size, std::int64_t blocks,
                       std::int64_t sharing) {
  expect_shape(weights, {-1, -1, -1, -1, weights.size(-2)}, "weights");
  const std::int64_t heads = weights.size(2), tokens = weights.size(3);
  TORCH_INTERNAL_ASSERT(heads % sharing == 0 && blocks >= 1);
  const at::Tensor mass = mass_of_blocks(weights, block_size);  // [R,B,H,T,NB]
  const std::int64_t block_count = mass.size(-1);
  if (blocks >= block_count) return weights.sum(-1);
  const at::Tensor grouped =
      mass.view({mass.size(0), mass.size(1), heads / sharing, sharing, tokens, block_count});
  const auto index = weights.options().dtype(torch::kInt64);
  const at::Tensor own = torch::arange(block_count, index) ==
                         torch::arange(tokens, index).unsqueeze(1).div(block_size, "floor");
  const at::Tensor rank =
      grouped.sum(3, /*keepdim=*/true).masked_fill(own, std::numeric_limits<double>::infinity());
  const at::Tensor best =
      std::get<1>(torch::sort(rank, /*stable=*/true, /*dim=*/-1, /*descending=*/true))
          .slice(-1, 0, blocks);
  std::vector<std::int64_t> wanted = grouped.sizes().vec();
  wanted.back() = blocks;
  return grouped.gather(-1, best.expand(wanted))
      .sum(-1)
      .view({mass.size(0), mass.size(1), heads, tokens});
}

StreamGap stream_gap(const at::Tensor& weights, const at::Tensor& selected, const at::Tensor& v) {
  check_alike(weights, selected);
  const std::int64_t heads = weights.size(2), kv_heads = v.size(3);
  // Each key head is repeated for the heads of its group, which gives [R,B,H,T,D].
  const at::Tensor values =
      v.permute({0, 1, 3, 2, 4}).repeat_interleave(heads / kv_heads, /*dim=*/2);
  const auto average = [&](const at::Tensor& p) {
    return batched_product(p.flatten(0, 2), values.flatten(0, 2)).view(values.sizes());
  };
  const at::Tensor left_out = selected.logical_not().logical_and(causal(weights));
  const at::Tensor kept = kept_mass(weights, selected).unsqueeze(-1);
  const at::Tensor sparse = average(weights * selected / kept);
  const at::Tensor difference = average(weights) - sparse;
  const at::Tensor largest =
      values.norm(2, -1).unsqueeze(-2).masked_fill(left_out.logical_not(), 0.0).amax(-1);

  StreamGap gap;
  gap.error = difference.norm(2, -1);
  gap.sparse_norm = sparse.norm(2, -1);
  gap.dropped = (weights * left_out).sum(-1);
  gap.bound = gap.dropped * (largest + gap.sparse_norm);
  gap.drop_distance =
      torch::where(gap.dropped > 0, gap.error / gap.dropped, torch::zeros_like(gap.error));
  return gap;
}

at::Tensor union_of_blocks(const at::Tensor& selected, std::int64_t block_size,
                           std::int64_t queries, std::int64_t first) {
  const std::int64_t tokens = selected.size(3), groups = (tokens - first) / queries;
  if (groups < 1) return {};
  const at::Tensor read = mass_of_blocks(selected.to(torch::kFloat), block_size).gt(0);
  std::vector<std::int64_t> shape = read.sizes().vec();
  shape[3] = groups;
  shape.insert(shape.begin() + 4, queries);
  const at::Tensor grouped = read.slice(3, first, first + groups * queries).reshape(shape);
  const at::Tensor together = grouped.any(4).sum(-1).to(torch::kDouble);  // [R,B,H,groups]
  const at::Tensor each = grouped.sum(-1).to(torch::kDouble).mean(4);
  return (together / each).flatten(1).mean(1);
}

}  // namespace tandem
