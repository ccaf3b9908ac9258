// What `tandem worker` does: trains the one group that it is told on `lines_in`, and sends its rows
// on `rows_out`.
#pragma once

#include "core/error.h"

namespace tandem {

// kExitDone, or kExitStopped with a checkpoint. Everything else is thrown.
ExitCode worker_main(int lines_in, int rows_out);

}  // namespace tandem
