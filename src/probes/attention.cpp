// This family measures how concentrated attention is (arXiv 2511.20102, Definition 1), under full
// attention, averaged over heads and over the queries t >= block_size x blocks, because before that
// the blocks can cover everything.
//   kept_mass      share of a query's attention that falls on the blocks its selector chooses
//   oracle_mass    the same under the best choice of as many blocks: concentration without the
//                  selector's error
//   entropy        in bits
//   drop_distance  |h_drop - h_sparse|: the gap also falls where values grow alike
//   sparse_norm    |h_sparse|: and where they shrink
//   bound_ratio    |h_full - h_sparse| over the bound of Theorem 1, as a ratio of sums, since
//                  bounds can be near 0
//   sink_mass      share of a query's attention that falls on the first token
//   union_2, union_4, union_8   blocks that so many queries in a row read together, over what one
//                  of them reads: what a kernel that serves them at once must load
//   gate           mean head gate: the gap also falls where gates close
#include "data/tensor.h"
#include "nn/attention/metrics.h"
#include "nn/attention/module.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

class AttentionProbe : public Probe {
 public:
  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Recorder rows(static_cast<std::int64_t>(input.runs.size()));
    if (input.model.sites(Level::kAttention) == 0) return rows.finish();
    const ReadoutRun& run = input.runs.front();
    block_size_ = run.config.integer("block_size");
    blocks_ = run.config.integer("blocks");
    per_head_ = run.policies.attention.selector.per_head;
    Context context = trained_context(input.runs);
    context.plans.attention.wanted = StreamsWanted::kFull;
    context.observe_tensor = [&](const std::string& layer, const std::string& what,
                                 const at::Tensor& value) {
      if (what == kObserveWeights) weights_ = value;
      if (what == kObserveSelected) selected_ = value;
      if (what == kObserveValues) record_layer(rows, layer, value);
      if (what == kObserveGate) record(rows, layer, "gate", value.transpose(2, 3));
    };
    input.model.forward(input.x, context);
    return rows.finish();
  }

 private:
  // `value` is [R,B,H,T].
  void record(Recorder& rows, const std::string& layer, const std::string& name,
              const at::Tensor& value) const {
    const std::int64_t first = block_size_ * blocks_;
    if (value.size(3) <= first) return;
    for (std::int64_t r = 0; r < value.size(0); ++r) {
      const at::Tensor own = value[r].slice(2, first).to(torch::kDouble);
      rows.layer(r, kAttentionLevel, layer, name, own.mean().item<double>());
    }
  }

  void record_layer(Recorder& rows, const std::string& layer, const at::Tensor& values) {
    const std::int64_t sharing = per_head_ ? 1 : weights_.size(2) / values.size(3);
    record(rows, layer, "kept_mass", 1 - dropped_mass(weights_, selected_));
    record(rows, layer, "oracle_mass", oracle_mass(weights_, block_size_, blocks_, sharing));
    record(rows, layer, "entropy", entropy_bits(weights_));
    const StreamGap gap = stream_gap(weights_, selected_, values);
    record(rows, layer, "drop_distance", gap.drop_distance);
    record(rows, layer, "sparse_norm", gap.sparse_norm);
    record(rows, layer, "sink_mass", weights_.select(-1, 0));
    record_tightness(rows, layer, gap);
    for (const std::int64_t queries : {2, 4, 8}) {
      const at::Tensor ratio =
          union_of_blocks(selected_, block_size_, queries, block_size_ * blocks_);
      for (std::int64_t r = 0; ratio.defined() && r < ratio.size(0); ++r) {
        rows.layer(r, kAttentionLevel, layer, "union_" + std::to_string(queries),
                   ratio[r].item<double>());
      }
    }
    weights_.reset();
    selected_.reset();
  }

  // Nothing is said where nothing is dropped.
  void record_tightness(Recorder& rows, const std::string& layer, const StreamGap& gap) const {
    const std::int64_t first = block_size_ * blocks_;
    for (std::int64_t r = 0; r < gap.error.size(0) && gap.error.size(3) > first; ++r) {
      const auto sum = [&](const at::Tensor& value) {
        return value[r].slice(2, first).to(torch::kDouble).sum().item<double>();
      };
      const double bound = sum(gap.bound);
      if (bound > 0) {
        rows.layer(r, kAttentionLevel, layer, "bound_ratio", sum(gap.error) / bound);
      }
    }
  }

  std::int64_t block_size_ = 1, blocks_ = 1;
  bool per_head_ = false;
  at::Tensor weights_, selected_;  // what the layer under observation offers
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "attention",
     .summary = "per attention layer: kept_mass, oracle_mass, entropy, drop_distance, sparse_norm, "
                "bound_ratio, sink_mass, union_2, union_4, union_8, gate",
     .cite = "arXiv:2511.20102",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<AttentionProbe>();
    });

}  // namespace
}  // namespace tandem
