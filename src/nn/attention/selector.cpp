#include "nn/attention/selector.h"

#include <limits>

#include "data/tensor.h"

namespace tandem {

namespace {

constexpr double kForced = std::numeric_limits<double>::infinity();

// Past blocks of a query, from the most important on, of which a share of the whole is enough: bool
// beside `order`, whether what comes before a place is less than that share.
at::Tensor within_share(const at::Tensor& importance, const at::Tensor& order, double share) {
  const at::Tensor sorted = importance.gather(-1, order).clamp_min(0);
  const at::Tensor whole = importance.clamp_min(0).sum(-1, /*keepdim=*/true);
  const at::Tensor before = sorted.cumsum(-1) - sorted;
  return before < share * whole;
}

// What the kernel released with SSA can choose, bool in the shape of rank, which is -infinity where
// a block is not past: it goes through chunks of block_size blocks and takes with it into each the
// better half of what it has, so that of the chunk that a query's own block is in, and of all
// chunks before, half a chunk is left, its own block among them.
at::Tensor within_stream(const SelectorInput& input, const at::Tensor& rank) {
  const std::int64_t chunk = input.setting.block_size, half = chunk / 2;
  const at::Tensor block =
      torch::arange(input.complete(), rank.options().dtype(torch::kInt64)).div(chunk, "floor");
  const at::Tensor own = torch::arange(input.heads.tokens, block.options())
                             .div(input.setting.block_size * chunk, "floor")
                             .unsqueeze(1);
  const auto best = [&](const at::Tensor& of, std::int64_t most) {
    const at::Tensor within = rank.masked_fill(of.logical_not(), -kForced);
    const at::Tensor order =
        std::get<1>(torch::sort(within, /*stable=*/true, /*dim=*/-1, /*descending=*/true))
            .slice(-1, 0, std::min(most, input.complete()));
    return torch::zeros_like(within, within.options().dtype(torch::kBool))
        .scatter_(-1, order, true)
        .logical_and_(of);
  };
  return best(block < own, half).logical_or_(best(block == own, half - 1)).logical_or_(own == 0);
}

}  // namespace

Registry<BlockSelector>& block_selectors() {
  static Registry<BlockSelector> registry;
  return registry;
}

bool covers_everything(const AttentionSetting& setting, const AttentionTables& tables) {
  return setting.blocks >= tables.blocks() && setting.selector.top_p >= 1;
}

at::Tensor chosen_blocks(const SelectorInput& input) {
  const Policies::Selector& rule = input.setting.selector;
  if (std::min(input.setting.blocks - 1, input.complete()) == 0) {
    return most_important_blocks(input, {});
  }
  return most_important_blocks(input,
                               block_selectors().at("selector", rule.score).importance(input));
}

at::Tensor most_important_blocks(const SelectorInput& input, at::Tensor importance) {
  const Folded& f = input.heads;
  const AttentionTables& tables = input.tables;
  const Policies::Selector& rule = input.setting.selector;
  const std::int64_t complete = input.complete(), blocks = tables.blocks();
  const std::int64_t lists = rule.per_head ? f.group() : 1;
  const std::int64_t others = std::min(input.setting.blocks - 1, complete);
  if (others == 0) return tables.own().expand({f.products(), lists, f.tokens, blocks});
  if (!rule.per_head && importance.size(1) > 1) importance = importance.sum(1, /*keepdim=*/true);
  importance = torch::where(tables.past(), importance, importance.new_full({}, -kForced))
                   .expand({f.products(), lists, f.tokens, complete});
  at::Tensor rank = importance;
  if (rule.force_first || rule.nearest > 0) {
    const at::Tensor block = torch::arange(complete, tables.past().options().dtype(torch::kInt64));
    const at::Tensor own = torch::arange(f.tokens, block.options())
                               .div(input.setting.block_size, "floor")
                               .unsqueeze(1);
    at::Tensor forced = block >= own - rule.nearest;
    if (rule.force_first) {
      forced = forced.logical_or(
          tables.has_documents() ? block == tables.starts().div(input.setting.block_size, "floor")
                                 : block == 0);
    }
    rank = importance.masked_fill(forced.logical_and(tables.past()), kForced);
  }
  at::Tensor allowed = tables.past();
  if (rule.streaming) {
    allowed = within_stream(input, rank).logical_and_(tables.past());
    rank = rank.masked_fill(allowed.logical_not(), -kForced);
  }
  const at::Tensor order =
      std::get<1>(torch::sort(rank, /*stable=*/true, /*dim=*/-1, /*descending=*/true))
          .slice(-1, 0, others);
  at::Tensor chosen =
      torch::zeros({f.products(), lists, f.tokens, blocks}, f.q.options().dtype(torch::kBool));
  if (rule.top_p < 1) {
    const at::Tensor enough =
        within_share(importance, order, rule.top_p).logical_or(rank.gather(-1, order).eq(kForced));
    chosen.slice(-1, 0, complete).scatter_(-1, order, enough);
  } else {
    chosen.slice(-1, 0, complete).scatter_(-1, order, true);
  }
  chosen.slice(-1, 0, complete).logical_and_(allowed);
  return chosen.logical_or_(tables.own());
}

at::Tensor mean_keys(const at::Tensor& keys, std::int64_t parts, const AttentionTables& tables) {
  const at::Tensor grouped =
      keys.reshape({keys.size(0), parts, keys.size(1) / parts, keys.size(2)});
  if (!tables.has_documents()) return grouped.mean(2);
  const at::Tensor weight =
      tables.pooled().view({keys.size(0), parts, -1, 1}).to(keys.scalar_type());
  return (grouped * weight).sum(2) / weight.sum(2).clamp_min(1);
}

at::Tensor full_mass(const SelectorInput& input, const at::Tensor& scores) {
  const Folded& f = input.heads;
  const std::int64_t size = input.setting.block_size, complete = input.complete();
  return masked_softmax(f, scores, input.tables.causal())
      .view({f.products(), f.group(), f.tokens, f.tokens})
      .slice(-1, 0, complete * size)
      .reshape({f.products(), f.group(), f.tokens, complete, size})
      .sum(-1);
}

at::Tensor mask_of_blocks(const SelectorInput& input, const at::Tensor& chosen,
                          const at::Tensor& full_runs) {
  const Folded& f = input.heads;
  const at::Tensor& causal = input.tables.causal();
  const at::Tensor allowed =
      full_runs.defined() ? chosen.logical_or(f.of_products(full_runs)) : chosen;
  return spread_over_keys(additive_mask(allowed, causal), input.setting.block_size, f.tokens) +
         causal;
}

at::Tensor select_blocks(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting,
                         const AttentionTables& tables, const at::Tensor& learned) {
  at::NoGradGuard no_grad;
  expect_heads(q, k, {});
  const Folded f = fold(q, k, {});
  const at::Tensor chosen = chosen_blocks({f, setting, tables, learned});
  return chosen.reshape({f.replicas, f.batch, -1, f.tokens, tables.blocks()});
}

}  // namespace tandem
