// Block-sparse attention at every step (MoBA, arXiv 2502.13189). The default choice of blocks is
// that of SSA's released code, whose "MoBA" shares it: softmax over pooled keys, summed over the
// heads of a group. The paper's own: attention_selector = head, attention_selector_score = dot.
#include "methods/attention_fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Policies moba(const Config& config) {
  Policies policies = two_stream_attention(config);
  policies.schedule.kind = Schedule::Kind::kSparse;
  return policies;
}

TANDEM_REGISTERED =
    attention_methods().add({.kind = "attention",
                             .name = "moba",
                             .summary = "sparse stream only: blocks chosen by pooled keys",
                             .cite = "arXiv:2502.13189",
                             .uses = two_stream_options(),
                             .file = __FILE__,
                             .trains_sparse_alone = true},
                            moba);

}  // namespace
}  // namespace tandem
