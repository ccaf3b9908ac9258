// This family measures how concentrated attention is and what the sparse stream leaves out (arXiv
// 2511.20102, Definition 1 and Theorem 1), under full attention. Rows are means over examples,
// heads and the queries t >= block_size x blocks, because before that the blocks can cover
// everything; of many queries some are looked at (observed_queries() of nn/attention/metrics.h), so
// that no score matrix of all is there.
//   kept_mass      share of a query's attention that falls on the blocks its selector chooses
//   dropped_mass   delta: the share that does not
//   oracle_mass    kept mass under the best choice of `blocks` blocks: concentration without the
//                  selector's error
//   selector_error oracle_mass - kept_mass: the selector's error apart from concentration
//   entropy        in bits
//   kl_sparse_full KL(sparse || full) = -log2 kept mass of a query, in bits. The other direction is
//                  infinite wherever something is dropped; both are finite at the logits, where the
//                  family `gap` has them
//   stream_distance   |h_full - h_sparse|
//   drop_distance  |h_drop - h_sparse|, each query by what it drops: the gap also falls where
//                  values grow alike
//   sparse_norm    |h_sparse|: and where they shrink
//   distance_bound delta (max |v| of what is dropped + |h_sparse|), the bound of Theorem 1 on
//                  stream_distance
//   bound_ratio    how tight it is: the sum of stream_distance over the sum of the bounds, since
//                  bounds can be near 0
//   sink_mass      share of a query's attention that falls on the first token
//   union_2, union_4, union_8   blocks that so many queries in a row read together, over what one
//                  of them reads: what a kernel that serves them at once must load
//   gate           mean head gate: the gap also falls where gates close
#include "probes/attention.h"

#include <map>

#include "data/tensor.h"
#include "nn/attention/metrics.h"
#include "nn/attention/module.h"
#include "nn/attention/view.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

class AttentionProbe : public Probe {
 public:
  explicit AttentionProbe(std::int64_t most) : most_(most) {}

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    if (input.model.sites(Level::kAttention) == 0) return rows.finish();
    const ReadoutRun& run = input.runs.front();
    const std::int64_t field = run.config.integer("block_size") * run.config.integer("blocks");
    per_head_ = run.policies.attention.selector.per_head;
    Context context = trained_context(input.runs);
    context.plans.attention.wanted = StreamsWanted::kFull;
    context.observe_attention = [&](const std::string& layer, const AttentionView& view) {
      record_layer(rows, layer, view);
    };
    context.observe_tensor = [&](const std::string& layer, const std::string& what,
                                 const at::Tensor& value) {
      if (what != kObserveGate || value.size(2) <= field) return;
      record(rows, layer, "gate", value.slice(2, field));
    };
    input.model.forward(input.x, context);
    return rows.finish();
  }

 private:
  // The mean of value [R,...] for each replica.
  static void record(Recorder& rows, const std::string& layer, const std::string& name,
                     const at::Tensor& value) {
    for (std::int64_t r = 0; r < value.size(0); ++r) {
      rows.layer(r, kAttentionLevel, layer, name,
                 value[r].to(torch::kDouble).mean().item<double>());
    }
  }

  // What there is to say of each query, [R,B,H,Q] by name.
  std::map<std::string, at::Tensor> numbers_of(const AttentionView& view, const at::Tensor& queries,
                                               const at::Tensor& chosen) const {
    const at::Tensor weights = view.weights(queries);
    const std::int64_t heads = weights.size(2), tokens = weights.size(4);
    const at::Tensor selected =
        selected_keys(chosen, queries, heads, view.block_size, tokens, view.documents);
    const std::int64_t sharing = per_head_ ? 1 : heads / view.v.size(3);
    const StreamGap gap = stream_gap(weights, selected, view.v, queries);
    const at::Tensor kept = kept_mass(weights, selected);
    const at::Tensor oracle = oracle_mass(weights, queries, view.block_size, view.blocks, sharing);
    return {{"kept_mass", 1 - gap.dropped},
            {"dropped_mass", gap.dropped},
            {"oracle_mass", oracle},
            {"selector_error", oracle - kept},
            {"entropy", entropy_bits(weights)},
            {"kl_sparse_full", kl_sparse_full(kept, gap.dropped)},
            {"stream_distance", gap.error},
            {"sparse_norm", gap.sparse_norm},
            {"distance_bound", gap.bound},
            {"sink_mass", weights.select(-1, 0)}};
  }

  void record_layer(Recorder& rows, const std::string& layer, const AttentionView& view) const {
    const std::int64_t tokens = view.v.size(2), first = view.block_size * view.blocks;
    const at::Tensor queries = observed_queries(tokens, first, most_).to(view.v.device());
    const std::int64_t count = queries.size(0), together = queries_together(view);
    if (count == 0) return;
    const at::Tensor chosen = view.chosen(queries);
    std::map<std::string, std::vector<at::Tensor>> parts;
    for (std::int64_t begin = 0; begin < count; begin += together) {
      const std::int64_t end = std::min(begin + together, count);
      for (const auto& [name, values] :
           numbers_of(view, queries.slice(0, begin, end), chosen.slice(3, begin, end))) {
        parts[name].push_back(values);
      }
    }
    std::map<std::string, at::Tensor> all;
    for (const auto& [name, values] : parts) {
      all[name] = torch::cat(values, 3);
      record(rows, layer, name, all[name]);
    }
    const at::Tensor& distance = all.at("stream_distance");
    record_ratio(rows, layer, "drop_distance", distance, all.at("dropped_mass"));
    record_ratio(rows, layer, "bound_ratio", distance, all.at("distance_bound"));
    for (const std::int64_t neighbours : {2, 4, 8}) {
      const at::Tensor ratio = union_of_blocks(chosen, neighbours);
      if (ratio.defined()) record(rows, layer, "union_" + std::to_string(neighbours), ratio);
    }
  }

  // A ratio of sums, since single divisors can be near 0, where rounding decides. Nothing is said
  // where nothing is dropped.
  static void record_ratio(Recorder& rows, const std::string& layer, const std::string& name,
                           const at::Tensor& dividend, const at::Tensor& divisor) {
    const auto sum = [](const at::Tensor& value) {
      return value.to(torch::kDouble).sum().item<double>();
    };
    for (std::int64_t r = 0; r < dividend.size(0); ++r) {
      const double whole = sum(divisor[r]);
      if (whole > 0) rows.layer(r, kAttentionLevel, layer, name, sum(dividend[r]) / whole);
    }
  }

  std::int64_t most_;
  bool per_head_ = false;
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "attention",
     .summary = "per attention layer: kept_mass, dropped_mass, oracle_mass, selector_error, "
                "entropy, kl_sparse_full, stream_distance, drop_distance, sparse_norm, "
                "distance_bound, bound_ratio, sink_mass, union_2, union_4, union_8, gate",
     .cite = "arXiv:2511.20102",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return attention_probe(kObservedQueries);
    });

}  // namespace

std::unique_ptr<Probe> attention_probe(std::int64_t most) {
  return std::make_unique<AttentionProbe>(most);
}

}  // namespace tandem
