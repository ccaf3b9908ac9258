// Full causal attention. The sparse read-out selects blocks only at evaluation.
#include "methods/method.h"

namespace tandem {
namespace {

Policies full(const Config&) { return {}; }

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "full",
     .summary = "full causal attention; blocks are selected only at read-out",
     .cite = "",
     .file = __FILE__},
    full);

}  // namespace
}  // namespace tandem
