// Alternation without alignment: each step draws full or block-sparse attention for all layers. The
// control that tells the effect of aligning from that of mixing the streams.
#include "methods/attention_fill.h"
#include "methods/fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

std::vector<std::string> attention_alternate_options() {
  std::vector<std::string> names = selector_options();
  for (const std::string& name : drawn_streams_options("attention")) names.push_back(name);
  return names;
}

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "alternate",
     .summary = "full or sparse attention at random each step, no alignment",
     .cite = "",
     .uses = attention_alternate_options(),
     .file = __FILE__},
    alternating_attention);

}  // namespace
}  // namespace tandem
