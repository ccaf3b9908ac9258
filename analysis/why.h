// `tandem why`: what a run is and where it ran; which runs stand behind a cell of a table and
// whether they may be compared.
#pragma once

#include <string>

#include "analysis/lineage.h"
#include "store/store.h"

namespace tandem {

// By the first digits of a run's id. StoreError where none or several fit.
std::string explain_run(const StoreReader& store, const std::string& prefix);

// `row`: the values of its keys joined by commas, or "key=value" pairs; `column`: its head or its
// measure. Either may be "" where only one is left. ConfigError that lists what there is.
std::string explain_cell(const Lineage& lineage, const std::string& row, const std::string& column);

}  // namespace tandem
