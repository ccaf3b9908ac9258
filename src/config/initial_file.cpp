#include "config/initial_file.h"

#include "config/option.h"
#include "core/hash.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::string_view kSeedPlace = "{seed}";
constexpr std::size_t kNameDigits = 8;

}  // namespace

bool begins_with_file(const Config& config) {
  return !config.text("init_from").empty() || !config.text("init_hash").empty();
}

std::string initial_file(const Config& config) {
  std::string path = config.text("init_from");
  const std::string& seed = config.text("seed");
  for (auto at = path.find(kSeedPlace); at != std::string::npos;
       at = path.find(kSeedPlace, at + seed.size())) {
    path.replace(at, kSeedPlace.size(), seed);
  }
  return path;
}

std::string initial_net_name(const std::string& canonical, const std::string& which,
                             const std::string& content) {
  if (canonical.empty()) return "file-" + content.substr(0, kNameDigits);
  std::string shared, attention, weights;
  bool attends = true;
  for (const auto& part : split(canonical, '\n')) {
    const std::string line(part), name = line.substr(0, line.find('='));
    if (is_of_repetition(name)) continue;
    shared += line + "\n";
    if (name == "attention") attention = line.substr(name.size() + 1);
    if (name == "weights") weights = line.substr(name.size() + 1);
    if (line == "model=mlp") attends = false;
  }
  std::string title = attends && !attention.empty() ? attention + "/" + weights : weights;
  if (!which.empty()) title += "-" + which;
  return title + "-" + sha256(shared + which).substr(0, kNameDigits);
}

}  // namespace tandem
