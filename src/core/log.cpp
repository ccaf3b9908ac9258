// Log lines through spdlog.
#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <mutex>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>(
        "tandem", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%H:%M:%S %^%l%$ %v");
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

}  // namespace

void set_log_level(const std::string& level) {
  static constexpr std::array<std::pair<const char*, spdlog::level::level_enum>, 4> kLevels = {
      {{"debug", spdlog::level::debug},
       {"info", spdlog::level::info},
       {"warn", spdlog::level::warn},
       {"off", spdlog::level::off}}};
  for (const auto& [name, value] : kLevels) {
    if (level == name) {
      logger().set_level(value);
      return;
    }
  }
  throw ConfigError(did_you_mean("log level", level, {"debug", "info", "warn", "off"}));
}

void log_to_parent() { logger().set_pattern("%l %v"); }

// What does not begin with a level is no line of log_...(), such as a library's own.
void relay_log_line(const std::string& line, const std::string& mark) {
  const std::size_t space = line.find(' ');
  const std::string first = line.substr(0, space);
  const auto level = spdlog::level::from_str(first);
  const bool told = space != std::string::npos && level != spdlog::level::off;
  logger().log(told ? level : spdlog::level::info, "{}{}", mark,
               told ? line.substr(space + 1) : line);
}

void log_debug(const std::string& message) { logger().debug("{}", message); }
void log_info(const std::string& message) { logger().info("{}", message); }
void log_warn(const std::string& message) { logger().warn("{}", message); }

void log_warn_once(const std::string& what, const std::string& message) {
  static std::mutex mutex;
  static std::set<std::string> told;
  const std::lock_guard<std::mutex> lock(mutex);
  if (told.insert(what).second) log_warn(message);
}

}  // namespace tandem
