#include "nn/outline.h"

#include "config/declared.h"

namespace tandem {
namespace {

Declared<ModelOutline>& outlines() {
  static Declared<ModelOutline> all;
  return all;
}

constexpr const char* kOutlineOfModel = "the outline of model";

}  // namespace

bool declare_outline(const std::string& model, const ModelOutline& outline) {
  return outlines().add(model, outline, kOutlineOfModel);
}

const ModelOutline& outline_of(const Config& config) {
  return outlines().at(config.text("model"), kOutlineOfModel,
                       "it belongs beside its factory (nn/outline.h)");
}

}  // namespace tandem
