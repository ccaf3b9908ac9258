#include "nn/attention/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/shape.h"
#include "data/tensor.h"
#include "nn/attention/setting.h"
#include "nn/attention/view.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

void check_alike(const at::Tensor& weights, const at::Tensor& selected) {
  if (selected.sizes() == weights.sizes()) return;
  throw std::invalid_argument("selected has shape " + shape_text(selected.sizes()) +
                              ", expected that of weights, " + shape_text(weights.sizes()));
}

// bool [Q,T], the keys that are not after a query.
at::Tensor not_after(const at::Tensor& queries, std::int64_t tokens) {
  return torch::arange(tokens, queries.options()) <= queries.unsqueeze(1);
}

// The share of i golden sections that is left of whole ones, of so many places.
std::int64_t golden_place(std::int64_t i, std::int64_t places) {
  const std::uint64_t share = (static_cast<std::uint64_t>(i) * 0x9E3779B97F4A7C15ULL) >> 32U;
  return static_cast<std::int64_t>((share * static_cast<std::uint64_t>(places)) >> 32U);
}

// Sums over the keys of each block: [...,Q,T] becomes [...,Q,NB].
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

at::Tensor observed_queries(std::int64_t tokens, std::int64_t first, std::int64_t most) {
  TORCH_INTERNAL_ASSERT(most > 0 && most % kRunOfQueries == 0);
  const std::int64_t all = std::max<std::int64_t>(0, tokens - first);
  if (all <= most) return torch::arange(tokens - all, tokens, torch::kInt64);
  const std::int64_t runs = most / kRunOfQueries, places = all / kRunOfQueries;
  // Rounded, not cut: else the wider parts come late, and the sample lies early.
  const auto bound = [&](std::int64_t i) { return (i * places + runs / 2) / runs; };
  std::vector<std::int64_t> queries;
  for (std::int64_t i = 0; i < runs; ++i) {
    const std::int64_t begin = bound(i), end = bound(i + 1);
    const std::int64_t run = begin + golden_place(i, end - begin);
    for (std::int64_t j = 0; j < kRunOfQueries; ++j) {
      queries.push_back(first + run * kRunOfQueries + j);
    }
  }
  return torch::tensor(queries, torch::kInt64);
}

at::Tensor selected_keys(const at::Tensor& chosen, const at::Tensor& queries, std::int64_t heads,
                         std::int64_t block_size, std::int64_t tokens,
                         const at::Tensor& documents) {
  expect_shape(chosen, {-1, -1, -1, queries.size(0), (tokens + block_size - 1) / block_size},
               "chosen");
  const std::int64_t lists = chosen.size(2);
  TORCH_INTERNAL_ASSERT(heads % lists == 0);
  at::Tensor by_key =
      spread_over_keys(chosen, block_size, tokens).logical_and(not_after(queries, tokens));
  const at::Tensor start = starts_of_queries(documents, queries);
  if (start.defined()) {
    by_key = by_key.logical_and(torch::arange(tokens, queries.options()) >= start);
  }
  return lists == heads ? by_key : by_key.repeat_interleave(heads / lists, /*dim=*/2);
}

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

// Each form is taken where it keeps its digits.
at::Tensor kl_sparse_full(const at::Tensor& kept, const at::Tensor& dropped) {
  return torch::where(dropped < 0.5, -torch::log1p(-dropped), -torch::log(kept)) / std::log(2.0);
}

at::Tensor oracle_mass(const at::Tensor& weights, const at::Tensor& queries,
                       std::int64_t block_size, std::int64_t blocks, std::int64_t sharing) {
  expect_shape(weights, {-1, -1, -1, queries.size(0), -1}, "weights");
  const std::int64_t heads = weights.size(2), asked = weights.size(3);
  TORCH_INTERNAL_ASSERT(heads % sharing == 0 && blocks >= 1);
  const at::Tensor mass = mass_of_blocks(weights, block_size);  // [R,B,H,Q,NB]
  const std::int64_t block_count = mass.size(-1);
  if (blocks >= block_count) return weights.sum(-1);
  const at::Tensor grouped =
      mass.view({mass.size(0), mass.size(1), heads / sharing, sharing, asked, block_count});
  const at::Tensor own = torch::arange(block_count, queries.options()) ==
                         queries.unsqueeze(1).div(block_size, "floor");
  const at::Tensor rank =
      grouped.sum(3, /*keepdim=*/true).masked_fill(own, std::numeric_limits<double>::infinity());
  const at::Tensor best =
      std::get<1>(torch::sort(rank, /*stable=*/true, /*dim=*/-1, /*descending=*/true))
          .slice(-1, 0, blocks);
  std::vector<std::int64_t> wanted = grouped.sizes().vec();
  wanted.back() = blocks;
  return grouped.gather(-1, best.expand(wanted))
      .sum(-1)
      .view({mass.size(0), mass.size(1), heads, asked});
}

StreamGap stream_gap(const at::Tensor& weights, const at::Tensor& selected, const at::Tensor& v,
                     const at::Tensor& queries) {
  check_alike(weights, selected);
  const std::int64_t heads = weights.size(2), kv_heads = v.size(3);
  // Each key head is repeated for the heads of its group, which gives [R,B,H,T,D].
  const at::Tensor values =
      v.permute({0, 1, 3, 2, 4}).repeat_interleave(heads / kv_heads, /*dim=*/2);
  const auto average = [&](const at::Tensor& p) {
    return batched_product(p.flatten(0, 2), values.flatten(0, 2))
        .view({p.size(0), p.size(1), p.size(2), p.size(3), values.size(4)});
  };
  // Keys of other documents have no weight, and so nothing to leave out.
  const at::Tensor left_out = selected.logical_not()
                                  .logical_and(not_after(queries, weights.size(-1)))
                                  .logical_and(weights > 0);
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

at::Tensor union_of_blocks(const at::Tensor& chosen, std::int64_t together) {
  const std::int64_t groups = chosen.size(3) / together;
  if (groups < 1) return {};
  std::vector<std::int64_t> shape = chosen.sizes().vec();
  shape[3] = groups;
  shape.insert(shape.begin() + 4, together);
  const at::Tensor grouped = chosen.slice(3, 0, groups * together).reshape(shape);
  const at::Tensor read = grouped.any(4).sum(-1).to(torch::kDouble);  // [R,B,L,groups]
  const at::Tensor each = grouped.sum(-1).to(torch::kDouble).mean(4);
  return (read / each).flatten(1).mean(1);
}

}  // namespace tandem
