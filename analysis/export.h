// The results of a database for other programs: `tandem db export`.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/store.h"

namespace tandem {

// kLong: CSV, a row per number: each evaluation's accuracy, loss and examples, and each metric.
// kWide: CSV, a row per run: the columns of v_run, its grids, then what it ended with: per split
// and
//        read-out accuracy and loss, and each metric of the whole net or of a level.
// kJson: a line per run with the same, as an object.
enum class ExportFormat { kLong, kWide, kJson };

// `runs`: ids, in the order in which they are written. Some hundred runs are held at a time,
// however many there are. `write` is called with one piece after another.
void export_runs(const StoreReader& store, const std::vector<std::string>& runs,
                 ExportFormat format, const std::function<void(std::string_view)>& write);

}  // namespace tandem
