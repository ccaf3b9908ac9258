// Matryoshka masks: one set of weights that is trained at several budgets. The sparse stream of a
// step keeps one of weights_nested's shares of density, drawn uniformly, and its mask holds the
// largest |w| of the next wider one. Slimmable networks and once-for-all nets do the like for
// widths (arXiv 1812.08928, 1908.09791). Read-outs are at `density`, and at others by the curve.
#include "config/option.h"

namespace tandem {
namespace {

TANDEM_REGISTERED =
    declare_option({.name = "weights_nested",
                    .type = OptionType::kRealList,
                    .default_value = "",
                    .neutral = "",
                    .help = "nested masks: each sparse stream keeps one of these shares of "
                            "density, drawn anew at each step; 1 first, then less; empty: off",
                    .minimum = 0,
                    .maximum = 1,
                    .of_part = true,
                    .group = "weights level"});

}  // namespace

}  // namespace tandem
