// Matryoshka masks: one set of weights that is trained at several budgets. The sparse stream of a
// step keeps one of weights_nested's shares of density, drawn uniformly, and its mask holds the
// largest |w| of the next wider one. Slimmable networks and once-for-all nets do the like for
// widths (arXiv 1812.08928, 1908.09791). Read-outs are at `density`, and at others by the curve.
#include "methods/nested.h"

#include <algorithm>
#include <functional>

#include "config/option.h"
#include "core/error.h"

namespace tandem {
namespace {

constexpr std::size_t kMostNested = 8;

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

void check_shares(const std::vector<double>& shares, const std::string& said) {
  const bool descends =
      std::adjacent_find(shares.begin(), shares.end(), std::less_equal<>()) == shares.end();
  if (shares.front() == 1 && shares.back() > 0 && descends && shares.size() <= kMostNested) return;
  throw ConfigError(said + ": give 1 and then ever smaller shares above 0, at most " +
                    std::to_string(kMostNested) + " in all, such as 1,0.5,0.25");
}

}  // namespace

void nest_masks(const Config& config, Policies& policies) {
  const std::vector<double> shares = config.reals("weights_nested");
  if (shares.empty()) return;
  const std::string said = "--weights-nested " + config.text("weights_nested");
  check_shares(shares, said);
  if (shares.size() == 1) {
    throw ConfigError(said + " is the mask itself: give more shares, or leave it out");
  }
  if (policies.sets.superset > 0) {
    throw ConfigError(said + " varies what the sparse stream uses, and --superset-density " +
                      config.text("superset_density") +
                      " narrows the full one to what holds its mask: give one of them");
  }
  if (policies.start.granularity.kind != Granularity::Kind::kElement) {
    throw ConfigError(said + " takes the largest single weights of the mask, and --granularity " +
                      config.text("granularity") + " chooses more than one at once: give element");
  }
  const std::string& source = config.text("mask_source");
  if (source == "gradient" || source == "saliency") {
    throw ConfigError(said +
                      " leaves a sparse step the gradient of the mask in use alone, and "
                      "--mask-source " +
                      source +
                      " ranks all weights by theirs: give magnitude, magnitude_input or random");
  }
  policies.sets.nested = shares;
}

}  // namespace tandem
