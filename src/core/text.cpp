// Text helpers on std::to_chars and std::from_chars, which know no locale.
#include "core/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <tuple>

namespace tandem {
namespace {

std::string suggestion(const std::string& what, const std::string& name,
                       const std::vector<std::string>& candidates) {
  const auto nearest = nearest_names(name, candidates);
  std::string text = fmt::format("unknown {} '{}'", what, name);
  if (!nearest.empty()) text += fmt::format("; did you mean {}?", join(nearest, ", "));
  return text;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::vector<std::string> nearest_names(const std::string& name,
                                       const std::vector<std::string>& candidates,
                                       std::size_t limit) {
  const std::size_t reach = std::max<std::size_t>(2, name.size() / 3);
  // Of two as near, first what begins with the name; whatever follows, it is no further than reach.
  std::vector<std::tuple<std::size_t, bool, std::string>> found;
  for (const auto& candidate : candidates) {
    const bool begins = name.size() >= 3 && candidate.rfind(name, 0) == 0;
    std::size_t distance = edit_distance(name, candidate);
    if (begins) distance = std::min(distance, reach);
    const bool contains = name.size() >= 3 && candidate.find(name) != std::string::npos;
    if (distance <= reach || contains) found.emplace_back(distance, !begins, candidate);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [distance, elsewhere, candidate] : found) {
    if (names.size() < limit) names.push_back(std::move(candidate));
  }
  return names;
}

std::string did_you_mean(const std::string& what, const std::string& name,
                         const std::vector<std::string>& candidates) {
  if (candidates.empty()) return suggestion(what, name, candidates) + "; there are none";
  auto all = candidates;
  std::sort(all.begin(), all.end());
  const std::string text = suggestion(what, name, candidates);
  return fmt::format("{}{} All: {}", text, text.back() == '?' ? "" : ".", join(all, ", "));
}

std::string did_you_mean(const std::string& what, const std::string& name,
                         const std::vector<std::string>& candidates,
                         const std::string& how_to_list) {
  const std::string text = suggestion(what, name, candidates);
  return fmt::format("{}{} {}", text, text.back() == '?' ? "" : ".", how_to_list);
}

std::string real_to_text(double value) {
  if (value == 0) return "0";
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, result.ptr);
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

std::optional<double> parse_real(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string trim(std::string_view text) {
  static constexpr std::string_view kSpace = " \t\r\n\v\f";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (;;) {
    const auto end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

}  // namespace tandem
