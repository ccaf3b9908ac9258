// Full causal attention. Blocks are chosen at read-out alone, by the selector that is named; a
// learned one (attention_selector_score = indexer) learns beside it, from the full attention, as
// in the dense warm-up of DeepSeek Sparse Attention (arXiv 2512.02556). With
// attention_entropy_penalty it is a control: attention that is concentrated without a sparse
// stream.
#include "methods/attention_fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "full",
     .summary = "full causal attention; blocks are selected only at read-out",
     .cite = "",
     .defaults = {{"attention_selector", "none"}, {"attention_selector_score", "none"}},
     .uses = two_stream_options(),
     .file = __FILE__},
    two_stream_attention);

}  // namespace
}  // namespace tandem
