// The lengths of windows that a run is read out in, from its option eval_contexts.
#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"

namespace tandem {

// What windows are longer by than `context`, ascending: eval_contexts without 1, each once.
std::vector<std::int64_t> context_multiples(const Config& config);

}  // namespace tandem
