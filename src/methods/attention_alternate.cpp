// Alternation without alignment: each step draws full or block-sparse attention for all layers. The
// control that tells the effect of aligning from that of mixing the streams.
#include "methods/attention_fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "alternate",
     .summary = "full or sparse attention at random each step, no alignment",
     .cite = "",
     .uses = alternating_attention_options(),
     .file = __FILE__},
    alternating_attention);

}  // namespace
}  // namespace tandem
