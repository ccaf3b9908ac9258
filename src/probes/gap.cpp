// This family measures how far the two streams are apart, at both levels.
//   gap           |full - sparse|^2 / |full|^2 of a layer's output before its activation or gate,
//   both
//                 from the same input, which the full stream brought there
//   feature_norm  root mean square of the full output: a gap can also fall because features shrink
// At the network's end, where each stream ran from the input on, over the outputs that an example
// is read out with:
//   logit_gap     the same ratio of the logits
//   logit_kl_full_sparse, logit_kl_sparse_full   KL(full || sparse), KL(sparse || full), nats
//   top1_agreement   share of positions with the same largest logit
// The sparse stream of the weights is the run's sparse net; its gap exists only where dormant
// weights carry values. That of attention is its own budget of blocks.
#include <cmath>
#include <limits>

#include "data/gather.h"
#include "data/tensor.h"
#include "nn/own_outputs.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

double squares(const at::Tensor& x) { return x.square().sum().item<double>(); }

void run_both(LevelPlan& plan) {
  plan.wanted = StreamsWanted::kBoth;
  plan.running = RunningStream::kFull;
}

void record_site(Recorder& rows, const Site& site, const at::Tensor& full, const at::Tensor& sparse,
                 bool with_gap) {
  const std::string level = level_name(site.level);
  for (std::int64_t r = 0; r < full.size(0); ++r) {
    const at::Tensor own = full[r].to(torch::kDouble);
    const double norm = squares(own);
    rows.layer(r, level, site.layer, "feature_norm",
               std::sqrt(norm / static_cast<double>(own.numel())));
    if (with_gap) rows.layer(r, level, site.layer, "gap", squares(own - sparse[r]) / norm);
  }
}

double divergence(const at::Tensor& log_p, const at::Tensor& log_q) {  // mean of KL(p || q)
  return (log_p.exp() * (log_p - log_q)).sum(-1).mean().item<double>();
}

// The largest logit of each row among those that are allowed.
at::Tensor winners(const at::Tensor& logits, const at::Tensor& allowed) {
  if (!allowed.defined()) return logits.argmax(-1);
  return logits.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity())
      .argmax(-1);
}

void record_ends(Recorder& rows, Level of, const at::Tensor& allowed, const at::Tensor& full,
                 const at::Tensor& sparse) {
  const std::string level = level_name(of);
  for (std::int64_t r = 0; r < full.size(0); ++r) {
    const at::Tensor seen = allowed.defined() ? allowed[r] : at::Tensor();
    const at::Tensor all_a = full[r].to(torch::kDouble), all_b = sparse[r].to(torch::kDouble);
    const at::Tensor a = own_outputs(all_a, seen), b = own_outputs(all_b, seen);
    const at::Tensor log_a = log_shares(all_a, seen), log_b = log_shares(all_b, seen);
    rows.whole(r, level, "logit_gap", squares(a - b) / squares(a));
    rows.whole(r, level, "logit_kl_full_sparse", divergence(log_a, log_b));
    rows.whole(r, level, "logit_kl_sparse_full", divergence(log_b, log_a));
    rows.whole(
        r, level, "top1_agreement",
        winners(all_a, seen).eq(winners(all_b, seen)).to(torch::kDouble).mean().item<double>());
  }
}

class GapProbe : public Probe {
 public:
  explicit GapProbe(bool carry) : carry_(carry) {}

  bool reads_dense_weights() const override { return carry_; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    Model& model = input.model;
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    const LayerMasks masks = carry_ ? trained_masks(model, input.runs, input.ranking)
                                    : LayerMasks(model.linears().size());
    Recorder rows(replicas);
    Context both;
    run_both(both.plans.attention);
    run_both(both.plans.weights);
    both.observe_site = [&](const Site& site, const at::Tensor& full, const at::Tensor& sparse) {
      record_site(rows, site, full, sparse, carry_ || site.level == Level::kAttention);
    };
    at::Tensor logits;
    {
      const BorrowedMasks borrowed(model, masks);
      logits = model.forward(input.x, both);
    }
    const auto ends = [&input](const at::Tensor& all) {
      if (!input.asked.defined()) return all;
      return asked_rows(all.reshape({all.size(0), -1, all.size(-1)}), input.asked);
    };
    logits = ends(logits);
    if (carry_ && model.sites(Level::kWeights) > 0) {
      const MaskedWeights sparse(model, masks);
      Context full;
      record_ends(rows, Level::kWeights, input.outputs_allowed, logits,
                  ends(model.forward(input.x, full)));
    }
    if (model.sites(Level::kAttention) > 0) {
      Context sparse;
      sparse.plans.attention.wanted = StreamsWanted::kSparse;
      record_ends(rows, Level::kAttention, input.outputs_allowed, logits,
                  ends(model.forward(input.x, sparse)));
    }
    return rows.finish();
  }

 private:
  bool carry_;  // dormant weights carry values
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "gap",
     .summary = "full against sparse stream: gap and feature_norm per layer; logit_gap, "
                "logit_kl_full_sparse, logit_kl_sparse_full, top1_agreement at the end",
     .cite = "arXiv:2511.20102",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<GapProbe>(dormant_carry_values(runs));
    });

}  // namespace
}  // namespace tandem
