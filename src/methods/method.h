// Methods are registered by name, in one registry per level. A method's file registers facts and a
// function that fills policies from a resolved config; see CONTRIBUTING.md.
#pragma once

#include "config/config.h"
#include "config/part.h"
#include "policy/policy.h"

namespace tandem {

using MethodFactory = Policies (*)(const Config&);

Registry<MethodFactory>& weights_methods();
Registry<MethodFactory>& attention_methods();

// Returns the policies of the run's method at a level. Throws ConfigError for impossible numbers.
Policies policies_of(const Config& config, Level level);
PerLevel<Policies> policies_of(const Config& config);
// Returns sentences on settings that are known to diverge (lambda_full = 0 with local alignment) or
// that train no network as a whole (a draw for each layer), or "".
std::string divergence_warning(const Config& config);

}  // namespace tandem
