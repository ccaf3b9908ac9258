// Full attention, then sparse attention, at given shares of the run (attention_phases), with more
// phases in turn where more shares are given. One share is the usual retrofit of sparse attention:
// a model that began with full attention goes on with chosen blocks. With a learned selector
// (attention_selector_score = indexer) it is that of DeepSeek Sparse Attention (arXiv 2512.02556):
// the indexer learns beside full attention first, then chooses.
#include "config/option.h"
#include "methods/attention_fill.h"
#include "methods/method.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "attention_phases",
                    .type = OptionType::kRealList,
                    .default_value = "0.5",
                    .neutral = "",
                    .help = "where full and sparse attention change over; the first phase is full",
                    .unit = "shares of the run",
                    .minimum = 0,
                    .maximum = 1,
                    .of_part = true,
                    .group = "attention level"});

Policies phased_attention(const Config& config) {
  Policies policies = two_stream_attention(config);
  policies.schedule.kind = Schedule::Kind::kPhases;
  policies.schedule.phases = config.reals("attention_phases");
  return policies;
}

std::vector<std::string> phased_attention_options() {
  std::vector<std::string> names = two_stream_options();
  names.push_back("attention_phases");
  return names;
}

TANDEM_REGISTERED = attention_methods().add(
    {.kind = "attention",
     .name = "phased",
     .summary = "full attention, then sparse attention, at shares of the run",
     .cite = "arXiv:2512.02556",
     .uses = phased_attention_options(),
     .file = __FILE__},
    phased_attention);

}  // namespace
}  // namespace tandem
