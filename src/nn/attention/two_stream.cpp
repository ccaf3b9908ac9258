#include "nn/attention/two_stream.h"

#include <algorithm>
#include <cmath>

#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "nn/attention/blocked.h"
#include "nn/attention/module.h"
#include "nn/attention/selector.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

bool has_full(StreamsWanted wanted) {
  return wanted == StreamsWanted::kFull || wanted == StreamsWanted::kBoth;
}

struct Streams {
  at::Tensor full, sparse;  // [R,B,T,H,D]; one that is not wanted is undefined
};

Streams by_kernels(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const AttentionSetting& setting, const AttentionTables& tables,
                   StreamsWanted wanted, const at::Tensor& full_runs) {
  const std::int64_t size = setting.block_size;
  Streams streams;
  if (has_full(wanted)) streams.full = blocked_attention(q, k, v, size, {}, {});
  if (wanted == StreamsWanted::kFull) return streams;
  if (covers_everything(setting, tables)) {  // the streams are one
    streams.sparse =
        streams.full.defined() ? streams.full : blocked_attention(q, k, v, size, {}, {});
  } else {
    streams.sparse =
        blocked_attention(q, k, v, size, lists_of_blocks(q, k, setting, tables), full_runs);
  }
  return streams;
}

Streams by_matrices(const std::string& layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, const AttentionSetting& setting,
                    const AttentionTables& tables, StreamsWanted wanted,
                    const at::Tensor& full_runs, Context& context) {
  const Folded f = fold(q, k, v);
  const SelectorInput input{f, setting, tables};
  const at::Tensor scores = batched_product(f.q, f.k.transpose(1, 2));  // [N,G T,T]
  at::Tensor chosen, mask;  // they stay undefined where the sparse stream equals the full one
  const bool looks = static_cast<bool>(context.observe_tensor);
  if ((wanted != StreamsWanted::kFull || looks) && !covers_everything(setting, tables)) {
    at::NoGradGuard no_grad;
    chosen = chosen_blocks(input);
    if (wanted != StreamsWanted::kFull) mask = mask_of_blocks(input, chosen, full_runs);
  }
  const auto stream = [&](const at::Tensor& additive) {
    return f.unfold(batched_product(masked_softmax(f, scores, additive), f.v));
  };
  Streams streams;
  if (has_full(wanted)) streams.full = stream(tables.causal());
  if (wanted == StreamsWanted::kBoth) {
    streams.sparse = mask.defined() ? stream(mask) : streams.full;
  } else if (wanted != StreamsWanted::kFull) {
    streams.sparse = stream(mask.defined() ? mask : tables.causal());
  }
  if (looks) offer_attention(layer, input, scores, chosen, v, context);
  return streams;
}

class TwoStream : public AttentionModule {
 public:
  explicit TwoStream(const AttentionPlace& place)
      : site_(place.site()),
        setting_(place.setting),
        width_(place.heads * place.head_dim),
        keys_width_(place.kv_heads * place.head_dim) {}

  at::Tensor forward(const AttentionInput& input, Context& context) override {
    return attention(site_, input.q, input.k, input.v, setting_, input.tables, context,
                     input.epilogue);
  }

  // There are two operations per multiply-add of scores and values over the pairs that are read,
  // and with blocks also the means of the keys and the pooled scores.
  double flops(std::int64_t tokens, bool full, double blocks) const override {
    const std::int64_t slots = full ? tokens : std::max<std::int64_t>(1, std::llround(blocks));
    const auto pairs =
        static_cast<double>(kernels::attended_pairs(tokens, setting_.block_size, slots));
    const double read = 4.0 * pairs * static_cast<double>(width_);
    const double products =
        block_selectors().at("selector", setting_.selector.score).products(setting_);
    if (full || products == 0) return read;
    const auto scored =
        static_cast<double>(kernels::scored_block_pairs(tokens, setting_.block_size));
    return read + 2.0 * products * scored * static_cast<double>(width_) +
           static_cast<double>(tokens * keys_width_);
  }

 private:
  std::string site_;
  AttentionSetting setting_;
  std::int64_t width_, keys_width_;
};

std::unique_ptr<AttentionModule> make_two_stream(const AttentionPlace& place) {
  return std::make_unique<TwoStream>(place);
}

TANDEM_REGISTERED = attention_modules().add(
    {.kind = "attention_module",
     .name = "two_stream",
     .summary =
         "softmax over all earlier keys, and over those of chosen blocks, from the same q, k, v",
     .cite = "arXiv:2511.20102",
     .file = __FILE__},
    {make_two_stream});

}  // namespace

at::Tensor attention(const std::string& layer, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const AttentionSetting& configured,
                     const AttentionTables& tables, Context& context, const Epilogue& epilogue) {
  expect_heads(q, k, v);
  const LevelPlan& plan = context.plans.attention;
  const AttentionSetting setting = at_budget(configured, plan.blocks);
  const at::Tensor full_runs =
      plan.wanted == StreamsWanted::kSelected ? plan.full_runs : at::Tensor();
  const Streams streams =
      takes_blocked(q) && !context.observe_tensor
          ? by_kernels(q, k, v, setting, tables, plan.wanted, full_runs)
          : by_matrices(layer, q, k, v, setting, tables, plan.wanted, full_runs, context);
  return context.align_and_select({Level::kAttention, layer}, streams.full, streams.sparse,
                                  epilogue);
}

at::Tensor attention_by_matrices(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const AttentionSetting& setting, const AttentionTables& tables,
                                 bool full) {
  expect_heads(q, k, v);
  Context context;
  const Streams streams =
      by_matrices("", q, k, v, setting, tables,
                  full ? StreamsWanted::kFull : StreamsWanted::kSparse, {}, context);
  return full ? streams.full : streams.sparse;
}

}  // namespace tandem
