// Names of metrics as the program documents them, so that who writes one as a column without its
// prefix is told the prefix, also where no run has logged it yet.
#pragma once

#include <string>
#include <vector>

namespace tandem {

// What every run may log, a strategy's NAME_loss, and what the probes' summaries name.
std::vector<std::string> documented_metrics();

}  // namespace tandem
