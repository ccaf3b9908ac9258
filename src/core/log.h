// Log lines on standard error. Only src/app and src/train log; other code throws or returns.
#pragma once

#include <string>

namespace tandem {

void set_log_level(const std::string& level);  // debug, info, warn, off; throws ConfigError
// From now on lines are "LEVEL MESSAGE", for a process that marks them and logs them itself by
// relay_log_line(), which keeps the level.
void log_to_parent();
void relay_log_line(const std::string& line, const std::string& mark);
void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warn(const std::string& message);
// The same, unless the program has warned of `what` before.
void log_warn_once(const std::string& what, const std::string& message);

}  // namespace tandem
