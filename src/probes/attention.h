// The family `attention`, with a limit of its own to the queries that it looks at.
#pragma once

#include <cstdint>
#include <memory>

#include "probes/probe.h"

namespace tandem {

// `most` is that of observed_queries() (nn/attention/metrics.h).
std::unique_ptr<Probe> attention_probe(std::int64_t most);

}  // namespace tandem
