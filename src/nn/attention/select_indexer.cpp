// Blocks by an indexer that learns: the lightning indexer of DeepSeek Sparse Attention (DeepSeek-
// V3.2, arXiv 2512.02556, equation 1), here with heads for each key head and scores of blocks as in
// MiniMax's sparse attention (arXiv 2606.13392):
//   I(t,s) = sum over j of w_j(t) relu(q_j(t).k(s) / sqrt(D)),   I(t,b) = max of I(t,s) over s in b
// q_j, k and w are products of the residual stream with weights of the indexer's own, q_j and k
// rotated; with pool = mean, a block's key is the mean of its k. It learns the divergence of
// nn/attention/learned_selector.h, and its input is detached. A block is as important as the
// softmax of I over the blocks that are past.
#include <cmath>
#include <limits>

#include "data/tensor.h"
#include "nn/attention/learned_selector.h"
#include "nn/attention/module.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

constexpr std::int64_t kIndexedQueries = 256;  // scored at once where no gradient is wanted

class Indexer : public LearnedSelector {
 public:
  explicit Indexer(const AttentionPlace& place)
      : rule_(place.setting.selector.indexer),
        block_size_(place.setting.block_size),
        width_(place.width),
        kv_heads_(place.kv_heads),
        head_dim_(place.head_dim) {
    const double deviation = 1 / std::sqrt(static_cast<double>(width_));
    const auto drawn = [&](const char* name, std::int64_t outputs) {
      return normal_parameter(place.site() + ".indexer_" + name, place.configs, {width_, outputs},
                              deviation, place.shape.dtype);
    };
    query_ = drawn("query", kv_heads_ * rule_.heads * head_dim_);
    key_ = drawn("key", kv_heads_ * head_dim_);
    weight_ = drawn("weight", kv_heads_ * rule_.heads);
  }

  std::vector<Parameter*> parameters() override { return {&query_, &key_, &weight_}; }

  at::Tensor scores(const AttentionInput& input) const override {
    const at::Tensor x = input.x.detach();
    const std::int64_t batch = input.q.size(1), tokens = input.q.size(2);
    const auto heads = [&](const Parameter& weight, std::int64_t count) {
      return batched_product(x, weight.value).view({x.size(0), batch, tokens, count, -1});
    };
    const Folded f = fold(input.rotate(heads(query_, kv_heads_ * rule_.heads)),
                          input.rotate(heads(key_, kv_heads_)), {});
    const at::Tensor weight = (heads(weight_, kv_heads_) / std::sqrt(rule_.heads))
                                  .permute({0, 1, 3, 4, 2})
                                  .reshape({f.products(), rule_.heads, tokens, 1});
    const std::int64_t complete = tokens / block_size_;
    const at::Tensor keys = f.k.slice(1, 0, complete * block_size_);
    const at::Tensor q = f.q.view({f.products(), rule_.heads, tokens, head_dim_});
    if (rule_.pool == "mean") {
      return of_keys(q, mean_keys(keys, complete, input.tables), weight);
    }
    at::Tensor others;  // keys of a block that are another document's
    if (input.tables.has_documents()) {
      others =
          input.tables.pooled().logical_not().view({f.products(), 1, 1, complete, block_size_});
    }
    const auto pooled = [&](std::int64_t first, std::int64_t end) {
      at::Tensor each = of_keys(q.slice(2, first, end), keys, weight.slice(2, first, end))
                            .view({f.products(), 1, end - first, complete, block_size_});
      if (others.defined()) {
        each = each.masked_fill(others, -std::numeric_limits<double>::infinity());
      }
      return each.amax(-1);
    };
    if (at::GradMode::is_enabled()) return pooled(0, tokens);
    std::vector<at::Tensor> parts;
    for (std::int64_t first = 0; first < tokens; first += kIndexedQueries) {
      parts.push_back(pooled(first, std::min(tokens, first + kIndexedQueries)));
    }
    return torch::cat(parts, 2);
  }

  double dense_products() const override {
    return static_cast<double>(width_ * kv_heads_ *
                               (rule_.heads * head_dim_ + head_dim_ + rule_.heads));
  }

 private:
  // I of queries [N,heads,Q,D] and keys [N,K,D], weights [N,heads,Q,1]: [N,1,Q,K].
  at::Tensor of_keys(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& weight) const {
    const std::int64_t queries = q.size(2);
    const at::Tensor products =
        batched_product(q.reshape({q.size(0), rule_.heads * queries, head_dim_}),
                        keys.transpose(1, 2))
            .view({q.size(0), rule_.heads, queries, keys.size(1)});
    return (torch::relu(products) * weight).sum(1, /*keepdim=*/true);
  }

  Policies::Selector::Indexer rule_;
  std::int64_t block_size_, width_, kv_heads_, head_dim_;
  Parameter query_, key_, weight_;  // [R,W,Hkv heads D], [R,W,Hkv D], [R,W,Hkv heads]
};

std::unique_ptr<LearnedSelector> make_indexer(const AttentionPlace& place) {
  return std::make_unique<Indexer>(place);
}

// Rows without a past block become NaN, and nothing of them is read.
at::Tensor indexed_blocks(const SelectorInput& input) {
  TORCH_INTERNAL_ASSERT(input.learned.defined(), "selector indexer has no scores here");
  return torch::softmax(input.learned.masked_fill(input.tables.past().logical_not(),
                                                  -std::numeric_limits<double>::infinity()),
                        -1);
}

TANDEM_REGISTERED = block_selectors().add(
    {.kind = "selector",
     .name = "indexer",
     .summary = "heads of its own, which learn how full attention spreads over blocks",
     .cite = "arXiv:2512.02556",
     .file = __FILE__},
    {indexed_blocks, /*shares=*/true,
     [](const AttentionSetting& setting, std::int64_t group) {
       const Policies::Selector::Indexer& rule = setting.selector.indexer;
       const std::int64_t keys = rule.pool == "mean" ? 1 : setting.block_size;
       return static_cast<double>(rule.heads * keys) / static_cast<double>(group);
     },
     make_indexer});

}  // namespace
}  // namespace tandem
