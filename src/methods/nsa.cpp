// Native sparse attention (arXiv 2502.11089) at every step. Defaults are the paper's in units of a
// block (l' = 64): compressed keys of half a block every quarter, a window of eight blocks, the
// first block and the one before a query's own always read. The model's head gate comes on top of
// the branches' own; the paper has none (head_gate = false).
#include "config/option.h"
#include "methods/attention_fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

Option of_nsa(Option option) {
  option.of_part = true;
  option.group = "attention level";
  return option;
}

TANDEM_REGISTERED = declare_option(
    of_nsa({.name = "nsa_length",
            .type = OptionType::kInt,
            .default_value = "0",
            .neutral = "0",
            .help = "tokens of a compressed key, a multiple of nsa_stride; 0: half of block_size",
            .unit = "tokens",
            .minimum = 0}));
TANDEM_REGISTERED = declare_option(
    of_nsa({.name = "nsa_stride",
            .type = OptionType::kInt,
            .default_value = "0",
            .neutral = "0",
            .help = "tokens from one compressed key to the next, a divisor of block_size; 0: a "
                    "quarter of it",
            .unit = "tokens",
            .minimum = 0}));
TANDEM_REGISTERED = declare_option(of_nsa({.name = "nsa_window",
                                           .type = OptionType::kInt,
                                           .default_value = "0",
                                           .neutral = "0",
                                           .help = "tokens of the sliding window; 0: eight blocks",
                                           .unit = "tokens",
                                           .minimum = 0}));
TANDEM_REGISTERED =
    declare_option(of_nsa({.name = "nsa_compression",
                           .type = OptionType::kChoice,
                           .default_value = "mlp",
                           .neutral = "none",
                           .help = "keys and values are compressed by a learned layer, or by means",
                           .choices = {"mlp", "mean"}}));
TANDEM_REGISTERED = declare_option(
    of_nsa({.name = "nsa_separate_kv",
            .type = OptionType::kFlag,
            .default_value = "false",
            .neutral = "false",
            .help = "the compressed and the window branch have keys and values of their own"}));
TANDEM_REGISTERED = declare_option(
    of_nsa({.name = "nsa_full",
            .type = OptionType::kText,
            .default_value = "selected",
            .neutral = "",
            .help = "branches in whose place the full read-out has full attention: some of "
                    "compressed, selected, window, joined by ','"}));

Policies nsa(const Config& config) {
  Policies policies;
  policies.module = "nsa";
  policies.schedule.kind = Schedule::Kind::kSparse;
  policies.selector = selector_of(config);
  return policies;
}

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "nsa",
     .summary = "native sparse attention: compressed, selected and window branches with gates",
     .cite = "arXiv:2502.11089",
     .defaults = {{"attention_forced_first", "true"}, {"attention_forced_nearest", "1"}},
     .uses = {"attention_selector", "attention_forced_first", "attention_forced_nearest",
              "nsa_length", "nsa_stride", "nsa_window", "nsa_compression", "nsa_separate_kv",
              "nsa_full"},
     .file = __FILE__,
     .trains_sparse_alone = true},
    nsa);

}  // namespace
}  // namespace tandem
