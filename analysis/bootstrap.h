// Centres of values that are no means, with intervals by the bootstrap. Values come in strata, such
// as the runs of one data set: the centre is that of all values together, and a replicate draws
// from each stratum as many values as it has. The interval is from the 2.5th to the 97.5th
// percentile of 50,000 replicates (by linear interpolation), which rliable (Agarwal et al., NeurIPS
// 2021) takes as well. Draws come from one named stream, so that the same values always have the
// same interval.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace tandem {

using Strata = std::vector<std::vector<double>>;

// The mean of what is left without the lowest and the highest quarter, each rounded down to whole
// values: of three values their mean, of five that of the middle three.
double interquartile_mean(std::vector<double> values);
double median(std::vector<double> values);

struct BootstrapInterval {
  double low = 0, high = 0;
};
// Nothing where no stratum has three values.
std::optional<BootstrapInterval> bootstrap_interval(const Strata& strata,
                                                    double (*centre)(std::vector<double>));

constexpr std::size_t kReplicates = 50000;

}  // namespace tandem
