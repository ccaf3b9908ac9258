// Where what can be found out again is remembered between programs.
#pragma once

#include <string>

namespace tandem {

// $TANDEM_CACHE, $XDG_CACHE_HOME/tandem or ~/.cache/tandem; "" where none of them is set.
std::string cache_folder();

}  // namespace tandem
