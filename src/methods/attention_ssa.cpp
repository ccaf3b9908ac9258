// Sparse sparse attention (arXiv 2511.20102, algorithm 1). Each step draws the running stream;
// every layer computes the other one from the same q, k, v, and their outputs are pulled toward
// each other: alpha / layers x sum of lambda_full d(full, sg sparse) + lambda_sparse d(sg full,
// sparse), d the smooth-L1 mean. alpha = 10, both lambdas 1 and p = 0.5 are the paper's. It
// compares outputs before the head gate; the released code does so after it: attention_gate_in_loss
// = true.
#include "methods/attention_fill.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies ssa(const Config& config) {
  Policies policies = alternating_attention(config);
  policies.alignment = alignment_of(config, "attention");
  return policies;
}

std::vector<std::string> attention_ssa_options() {
  std::vector<std::string> names = alternating_attention_options();
  for (const std::string& name : steer_alignment_options("attention")) names.push_back(name);
  for (const char* name :
       {"attention_alpha", "attention_alpha_warmup", "attention_lambda_full",
        "attention_lambda_sparse", "attention_distance", "attention_gate_in_loss"}) {
    names.push_back(name);
  }
  return names;
}

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "ssa",
     .summary = "full or sparse attention at random each step, outputs aligned both ways",
     .cite = "arXiv:2511.20102",
     .defaults = {{"attention_alpha", "10"},
                  {"attention_lambda_full", "1"},
                  {"attention_lambda_sparse", "1"},
                  {"attention_p", "0.5"},
                  {"attention_distance", "smooth_l1"}},
     .uses = attention_ssa_options(),
     .file = __FILE__},
    ssa);

}  // namespace
}  // namespace tandem
