// The file that a run begins with (option init_from), and what its runs are told apart by. The
// content of the file is part of a run's id; its path is not.
#pragma once

#include <string>

#include "config/config.h"

namespace tandem {

// The run begins with a net that is given, wherever that lies now.
bool begins_with_file(const Config& config);
// The path that init_from says, with the run's seed in the place of {seed}; "" where it says none.
std::string initial_file(const Config& config);
// What init_net says unless somebody has said it: "full/dense-1a2b3c4d", of the run that a file is
// of: its methods, and digits of a hash of its canonical form without what its repetitions differ
// in, and of which of its nets it is. Repetitions of one run have one name. Where the file does not
// say which run it is of, `canonical` is empty and the name is that of its content. No name has a
// space, so that conditions can hold it.
std::string initial_net_name(const std::string& canonical, const std::string& which,
                             const std::string& content);

}  // namespace tandem
