#include "nn/rope.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"

namespace tandem {

RopeFactors rope_factors(const std::string& scaling, double s) {
  if (scaling == "linear") return {.linear = s};
  if (scaling == "ntk") return {.ntk = s};
  return {};
}

std::vector<std::string> read_scalings(const Config& config) {
  const std::string& said = config.text("eval_scalings");
  std::vector<std::string> scalings;
  for (const std::string& raw : split(said, ',')) {
    const std::string each = trim(raw);
    if (each != "none" && each != "linear" && each != "ntk") {
      throw ConfigError("eval_scalings = " + said + " names '" + each +
                        "'; give some of none, linear and ntk, joined by ','");
    }
    if (std::find(scalings.begin(), scalings.end(), each) != scalings.end()) {
      throw ConfigError("eval_scalings = " + said + " names " + each +
                        " twice; give each scaling once");
    }
    scalings.push_back(each);
  }
  return scalings;
}

}  // namespace tandem
