// By how much match = train_flops stretches a run, from its config alone: for the prediction of
// times, before there is a trainer.
#pragma once

#include <functional>
#include <optional>

#include "config/config.h"

namespace tandem {

using StretchOf = std::function<std::optional<double>(const Config&)>;

// Asked for a run, it says the run's steps beside those of its config: 1 without match; none where
// its data or model can't be had, which is refused where it trains. It builds a model for every
// network that it meets, without weights, and counts a schedule once for all seeds.
StretchOf stretch_finder();

}  // namespace tandem
