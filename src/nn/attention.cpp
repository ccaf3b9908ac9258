#include "nn/attention.h"

#include <cmath>
#include <limits>
#include <optional>

#include "core/error.h"
#include "core/shape.h"
#include "data/tensor.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Query heads are folded into rows, so that there is one matrix product per (replica, example, key
// head).
struct Folded {
  std::int64_t replicas, batch, tokens, heads, kv_heads, head_dim;
  at::Tensor q, k, v;  // q [N,G T,D], scaled by D^-1/2; k, v [N,T,D]; N = R B Hkv

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t products() const { return replicas * batch * kv_heads; }

  at::Tensor unfold(const at::Tensor& out) const {  // [N,G T,D] -> [R,B,T,H,D]
    return out.view({replicas, batch, heads, tokens, head_dim}).transpose(2, 3);
  }
};

Folded fold(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  Folded f{.replicas = q.size(0),
           .batch = q.size(1),
           .tokens = q.size(2),
           .heads = q.size(3),
           .kv_heads = k.size(3),
           .head_dim = q.size(4),
           .q = {},
           .k = {},
           .v = {}};
  const double scale = 1.0 / std::sqrt(static_cast<double>(f.head_dim));
  const auto keys = [&f](const at::Tensor& x) {
    return x.transpose(2, 3).reshape({f.products(), f.tokens, f.head_dim});
  };
  f.q = (q * scale).transpose(2, 3).reshape({f.products(), f.group() * f.tokens, f.head_dim});
  f.k = keys(k);
  if (v.defined()) f.v = keys(v);
  return f;
}

// Returns the importance I of kernels/attention/attention.h, [N,L',T,NC] with L' = 1 or G; it is
// -infinity for blocks that do not lie before the query's own.
at::Tensor block_importance(const Folded& f, const AttentionSetting& setting,
                            const AttentionTables& tables) {
  const std::int64_t complete = tables.past.size(1);
  const at::Tensor pooled = f.k.slice(1, 0, complete * setting.block_size)
                                .reshape({f.products(), complete, setting.block_size, f.head_dim})
                                .mean(2);
  at::Tensor score = batched_product(f.q, pooled.transpose(1, 2))
                         .view({f.products(), f.group(), f.tokens, complete});
  // Rows without a complete block become NaN here; they have no past block either.
  if (setting.selector.softmax) score = torch::softmax(score + tables.complete, -1);
  if (!setting.selector.per_head) score = score.sum(1, /*keepdim=*/true);
  return torch::where(tables.past, score, score.new_full({}, -kInfinity));
}

// Marks a query's own block and the S - 1 most important earlier ones, bool [N,L',T,NB].
at::Tensor choose(const Folded& f, const AttentionSetting& setting, const AttentionTables& tables) {
  const std::int64_t complete = tables.past.size(1), blocks = tables.own.size(1);
  const std::int64_t lists = setting.selector.per_head ? f.group() : 1;
  const std::int64_t others = setting.blocks - 1;
  if (others == 0 || complete == 0) {
    return tables.own.expand({f.products(), lists, f.tokens, blocks});
  }
  at::Tensor importance = block_importance(f, setting, tables);
  if (setting.selector.force_first) {
    importance.select(-1, 0).masked_fill_(tables.past.select(-1, 0), kInfinity);
  }
  const at::Tensor order =
      std::get<1>(torch::sort(importance, /*stable=*/true, /*dim=*/-1, /*descending=*/true));
  at::Tensor chosen =
      torch::zeros({f.products(), lists, f.tokens, blocks}, f.q.options().dtype(torch::kBool));
  chosen.slice(-1, 0, complete)
      .scatter_(-1, order.slice(-1, 0, others), true)
      .logical_and_(tables.past);
  return chosen.logical_or_(tables.own);
}

bool covers_everything(const AttentionSetting& setting, const AttentionTables& tables) {
  return setting.blocks >= tables.own.size(1);
}

// Repeats a value of each block for the block's keys: [...,NB] becomes [...,T].
at::Tensor spread_over_keys(const at::Tensor& by_block, std::int64_t block_size,
                            std::int64_t tokens) {
  std::vector<std::int64_t> shape = by_block.sizes().vec();
  shape.push_back(block_size);
  std::vector<std::int64_t> flat(shape.begin(), shape.end() - 1);
  flat.back() *= block_size;
  return by_block.unsqueeze(-1).expand(shape).reshape(flat).slice(-1, 0, tokens);
}

// Returns the sparse stream's additive mask, [N,L',T,T]. Replicas whose full stream runs, if there
// are any, get the causal mask.
at::Tensor sparse_mask(const Folded& f, const at::Tensor& chosen, const AttentionSetting& setting,
                       const AttentionTables& tables, const at::Tensor& full_runs) {
  at::Tensor allowed = chosen;
  if (full_runs.defined()) {
    const std::int64_t per_replica = f.products() / f.replicas;
    allowed = allowed.logical_or(
        full_runs.view({f.replicas, 1}).expand({f.replicas, per_replica}).reshape({-1, 1, 1, 1}));
  }
  const at::Tensor additive =
      torch::where(allowed, tables.causal.new_zeros({}), tables.causal.new_full({}, -kInfinity));
  return spread_over_keys(additive, setting.block_size, f.tokens) + tables.causal;
}

at::Tensor masked_softmax(const Folded& f, const at::Tensor& scores, const at::Tensor& mask) {
  const at::Tensor masked = scores.view({f.products(), f.group(), f.tokens, f.tokens}) + mask;
  return torch::softmax(masked, -1).view(scores.sizes());
}

AttentionSetting at_budget(const AttentionSetting& setting, const std::optional<double>& blocks) {
  AttentionSetting result = setting;
  if (blocks.has_value()) result.blocks = std::llround(*blocks);
  if (result.blocks < 1) {
    throw ConfigError("attention at a budget of " + std::to_string(result.blocks) +
                      " blocks; a query reads its own block at least, so give 1 or more");
  }
  return result;
}

void offer(const std::string& layer, const Folded& f, const at::Tensor& v, const at::Tensor& scores,
           const AttentionSetting& setting, const AttentionTables& tables, Context& context) {
  at::NoGradGuard no_grad;
  const std::vector<std::int64_t> shape = {f.replicas, f.batch, f.heads, f.tokens, f.tokens};
  context.observe_tensor(layer, kObserveWeights,
                         masked_softmax(f, scores, tables.causal).view(shape));
  const at::Tensor causal = tables.causal.isfinite();
  const at::Tensor selected =
      covers_everything(setting, tables)
          ? causal.expand(shape)
          : spread_over_keys(choose(f, setting, tables), setting.block_size, f.tokens)
                .logical_and(causal)
                .expand({f.products(), f.group(), f.tokens, f.tokens})
                .reshape(shape);
  context.observe_tensor(layer, kObserveSelected, selected);
  context.observe_tensor(layer, kObserveValues, v);
}

void check_shapes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  expect_shape(q, {-1, -1, -1, -1, -1}, "q");
  expect_shape(k, {q.size(0), q.size(1), q.size(2), -1, q.size(4)}, "k");
  if (v.defined()) expect_shape(v, {k.size(0), k.size(1), k.size(2), k.size(3), k.size(4)}, "v");
  TORCH_INTERNAL_ASSERT(q.size(3) % k.size(3) == 0);
}

}  // namespace

AttentionTables::AttentionTables(std::int64_t tokens, std::int64_t block_size,
                                 const at::Tensor& like) {
  const auto index = like.options().dtype(torch::kInt64).requires_grad(false);
  const at::Tensor t = torch::arange(tokens, index).unsqueeze(1);
  const at::Tensor key = torch::arange(tokens, index);
  const std::int64_t blocks = (tokens + block_size - 1) / block_size;
  const at::Tensor block = torch::arange(blocks, index);
  const at::Tensor full_block = block.slice(0, 0, tokens / block_size);
  const auto additive = [&like](const at::Tensor& allowed) {
    const auto options = like.options().requires_grad(false);
    return torch::where(allowed, torch::zeros({}, options), torch::full({}, -kInfinity, options));
  };
  const at::Tensor own_block = t.div(block_size, "floor");
  causal = additive(key <= t);
  complete = additive(full_block < (t + 1).div(block_size, "floor"));
  past = full_block < own_block;
  own = block == own_block;
}

at::Tensor select_blocks(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting,
                         const AttentionTables& tables) {
  at::NoGradGuard no_grad;
  check_shapes(q, k, {});
  const Folded f = fold(q, k, {});
  const at::Tensor chosen = choose(f, setting, tables);
  return chosen.reshape({f.replicas, f.batch, -1, f.tokens, tables.own.size(1)});
}

at::Tensor attention(const std::string& layer, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const AttentionSetting& configured,
                     const AttentionTables& tables, Context& context, const Epilogue& epilogue) {
  check_shapes(q, k, v);
  const LevelPlan& plan = context.plans.attention;
  const AttentionSetting setting = at_budget(configured, plan.blocks);
  const Folded f = fold(q, k, v);
  const at::Tensor scores = batched_product(f.q, f.k.transpose(1, 2));  // [N,G T,T]

  at::Tensor mask;  // the sparse stream's; it stays undefined where that stream equals the full one
  if (plan.wanted != StreamsWanted::kFull && !covers_everything(setting, tables)) {
    at::NoGradGuard no_grad;
    mask = sparse_mask(f, choose(f, setting, tables), setting, tables,
                       plan.wanted == StreamsWanted::kSelected ? plan.full_runs : at::Tensor());
  }
  const auto stream = [&](const at::Tensor& additive) {
    return f.unfold(batched_product(masked_softmax(f, scores, additive), f.v));
  };
  at::Tensor full, sparse;
  if (plan.wanted == StreamsWanted::kFull || plan.wanted == StreamsWanted::kBoth)
    full = stream(tables.causal);
  if (plan.wanted == StreamsWanted::kBoth) sparse = mask.defined() ? stream(mask) : full;
  if (plan.wanted == StreamsWanted::kSparse || plan.wanted == StreamsWanted::kSelected) {
    sparse = stream(mask.defined() ? mask : tables.causal);
  }
  if (context.observe_tensor) offer(layer, f, v, scores, setting, tables, context);
  return context.align_and_select({Level::kAttention, layer}, full, sparse, epilogue);
}

}  // namespace tandem
