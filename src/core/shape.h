// Shape checks for anything with sizes() (a tensor, a view): expect_shape(x, {R, B, N}, "x").
// A size of -1 stands for any. A mismatch is our own mistake, so it is std::invalid_argument and
// none of the library's four errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tandem {

template <class Sizes>
std::string shape_text(const Sizes& sizes) {
  std::string text = "[";
  for (const auto size : sizes) {
    if (text.size() > 1) text += ", ";
    text += size == -1 ? std::string("any") : std::to_string(size);
  }
  return text + "]";
}

template <class TensorLike>
void expect_shape(const TensorLike& x, std::initializer_list<std::int64_t> expected,
                  std::string_view name) {
  const auto& sizes = x.sizes();
  bool same = static_cast<std::size_t>(sizes.size()) == expected.size();
  auto wanted = expected.begin();
  for (auto size = sizes.begin(); same && size != sizes.end(); ++size, ++wanted) {
    same = *wanted == -1 || static_cast<std::int64_t>(*size) == *wanted;
  }
  if (same) return;
  throw std::invalid_argument(std::string(name) + " has shape " + shape_text(sizes) +
                              ", expected " + shape_text(expected));
}

}  // namespace tandem
