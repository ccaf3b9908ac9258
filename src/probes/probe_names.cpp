#include "probes/probe_names.h"

#include "config/part.h"
#include "core/text.h"

namespace tandem {

std::vector<std::string> said_probes(const Config& config) {
  std::vector<std::string> names;
  for (const std::string& name : split(config.text("probes"), ',')) {
    names.push_back(trim(name));
    if (names.back() != "default" && names.back() != "all") part("probe", names.back());
  }
  return names;
}

}  // namespace tandem
