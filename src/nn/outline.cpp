#include "nn/outline.h"

#include <map>
#include <stdexcept>

namespace tandem {
namespace {

std::map<std::string, ModelOutline>& outlines() {
  static std::map<std::string, ModelOutline> all;
  return all;
}

}  // namespace

bool declare_outline(const std::string& model, const ModelOutline& outline) {
  if (outlines().emplace(model, outline).second) return true;
  throw std::logic_error("the outline of model '" + model + "' is declared twice");
}

const ModelOutline& outline_of(const Config& config) {
  const auto found = outlines().find(config.text("model"));
  if (found != outlines().end()) return found->second;
  throw std::logic_error("model '" + config.text("model") +
                         "' declares no outline (nn/outline.h) beside its factory");
}

}  // namespace tandem
