// The sandwich rule with in-place distillation (Yu & Huang 2019, arXiv 1903.05134) over a weight
// mask: both streams run every step; the full one learns from the labels, the sparse one from the
// full one's output, KL(stop-gradient full, sparse).
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies sandwich(const Config& config) {
  Policies policies;
  policies.schedule.kind = Schedule::Kind::kBoth;
  policies.schedule.loss_full = 1;
  policies.schedule.loss_sparse = 0;
  policies.sets = {Support::kStream, Support::kAll};
  policies.topology = refreshed_mask(config);
  policies.start = refreshed_start(config);
  policies.alignment.alpha = config.real("weights_alpha");
  policies.alignment.alpha_warmup_steps = config.integer("weights_alpha_warmup");
  policies.alignment.lambda_full = 0;
  policies.alignment.lambda_sparse = 1;
  policies.alignment.distance = Alignment::Distance::kLogitKl;
  policies.alignment.site = Alignment::Site::kLogits;
  policies.alignment.propagated = true;
  steer_alignment(config, "weights", policies.alignment);
  return policies;
}

std::vector<std::string> sandwich_options() {
  std::vector<std::string> names = refreshed_mask_options(steer_alignment_options("weights"));
  names.insert(names.end(), {"weights_alpha", "weights_alpha_warmup"});
  return names;
}

TANDEM_REGISTERED = weights_methods().add(
    {.kind = "weights",
     .name = "sandwich",
     .summary = "both streams every step; the sparse one distils from the full one",
     .cite = "arXiv:1903.05134",
     .revision = 3,
     .defaults = {{"weights_alpha", "1"}},
     .uses = sandwich_options(),
     .file = __FILE__},
    sandwich);

}  // namespace
}  // namespace tandem
