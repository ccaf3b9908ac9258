// Blocks by the mean of their keys (as rotated):
//   softmax  p_h(t,b) of s = q_t.kbar_b / sqrt(d) over the blocks that are complete at t, which
//            counts a query's own block at its last query alone (SSA's code, arXiv 2511.20102,
//            which is NSA's without the compressed branch)
//   dot      s itself (MoBA, arXiv 2502.13189)
//   subblock p_h over blocks of the log-sum-exp of s over `attention_subblocks` parts of each
//            block, which have a mean of their own: one key that stands out is seen where the mean
//            hides it
// and by the exact attention:
//   oracle   the mass that the full stream gives to each block: what no selector can beat at a
//            budget. It costs what full attention does, and tells a selector's error from
//            how concentrated attention is
#include <cmath>

#include "data/tensor.h"
#include "nn/attention/selector.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

// Scores of the means of `parts` parts of each complete block, [N,G,T,NC,parts]. Where documents
// are packed, keys of other documents than that of the block's last key are left out, and parts
// without a key are -infinity.
at::Tensor scores_of_means(const SelectorInput& input, std::int64_t parts) {
  const Folded& f = input.heads;
  const std::int64_t complete = input.complete(), size = input.setting.block_size;
  const at::Tensor keys = f.k.slice(1, 0, complete * size);
  const at::Tensor scores =
      batched_product(f.q, mean_keys(keys, complete * parts, input.tables).transpose(1, 2))
          .view({f.products(), f.group(), f.tokens, complete, parts});
  if (!input.tables.has_documents()) return scores;
  const at::Tensor counted = input.tables.pooled().view({f.products(), -1, size / parts});
  return scores + additive_mask(counted.any(-1), keys).view({f.products(), 1, 1, complete, parts});
}

// Rows without a complete block become NaN; they have no past block either.
at::Tensor over_complete(const SelectorInput& input, const at::Tensor& score) {
  return torch::softmax(score + input.tables.complete(), -1);
}

at::Tensor dot(const SelectorInput& input) { return scores_of_means(input, 1).squeeze(-1); }

at::Tensor softmax_of_means(const SelectorInput& input) { return over_complete(input, dot(input)); }

at::Tensor subblock(const SelectorInput& input) {
  return over_complete(input,
                       scores_of_means(input, input.setting.selector.subblocks).logsumexp(-1));
}

at::Tensor oracle(const SelectorInput& input) {
  return full_mass(input, batched_product(input.heads.q, input.heads.k.transpose(1, 2)));
}

Part pooled_facts(const char* name, const char* summary, const char* cite) {
  return {.kind = "selector", .name = name, .summary = summary, .cite = cite, .file = __FILE__};
}

double one_product(const AttentionSetting&, std::int64_t) { return 1; }

TANDEM_REGISTERED = block_selectors().add(
    pooled_facts("softmax", "softmax over the mean keys of complete blocks", "arXiv:2511.20102"),
    {softmax_of_means, /*shares=*/true, one_product});
TANDEM_REGISTERED = block_selectors().add(
    pooled_facts("dot", "product with the mean key of a block", "arXiv:2502.13189"),
    {dot, false, one_product});
TANDEM_REGISTERED = block_selectors().add(
    pooled_facts("subblock",
                 "softmax over the log-sum-exp of products with means of parts of blocks", ""),
    {subblock, true, [](const AttentionSetting& setting, std::int64_t) {
       return static_cast<double>(setting.selector.subblocks);
     }});
TANDEM_REGISTERED = block_selectors().add(
    pooled_facts("oracle", "the mass that full attention gives to a block: a bound, not a saving",
                 ""),
    {oracle, true, [](const AttentionSetting& setting, std::int64_t) {
       return static_cast<double>(setting.block_size);
     }});

}  // namespace
}  // namespace tandem
