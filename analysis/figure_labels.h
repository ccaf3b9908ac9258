// What tells the runs of a figure apart, in words: its method, and whatever else differs but for
// the seeds.
#pragma once

#include <string>
#include <vector>

#include "analysis/run_data.h"

namespace tandem {

// The columns of v_run whose values make labels: those of `first`, and then each that would differ
// between runs of one label; not those of `apart`, which the figure shows in another way. Those
// that others follow from come before these.
std::vector<std::string> label_keys(const RunSet& set, const std::vector<std::string>& first,
                                    const std::vector<std::string>& apart = {});

// "ssa, equal operations, lr 0.1".
std::string label_of(const RunData& run, const std::vector<std::string>& keys);

}  // namespace tandem
