// Text without a locale: numbers to and from text, nearest names for error messages, lists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Levenshtein distance in bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

// Up to `limit` candidates, nearest first: those that contain the name (of 3 letters or more), or
// lie within a third of its length (at least 2 edits).
std::vector<std::string> nearest_names(const std::string& name,
                                       const std::vector<std::string>& candidates,
                                       std::size_t limit = 3);

// "unknown WHAT 'NAME'; did you mean A, B? All: A, B, C" (sorted). The second form is for long
// lists: the sentence `how_to_list` stands in their place.
std::string did_you_mean(const std::string& what, const std::string& name,
                         const std::vector<std::string>& candidates);
std::string did_you_mean(const std::string& what, const std::string& name,
                         const std::vector<std::string>& candidates,
                         const std::string& how_to_list);

std::string real_to_text(double value);  // shortest that reads back the same; -0 as 0
// The whole text must be a number; no sign '+', no space; reals finite.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_real(std::string_view text);

std::string trim(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);  // "" gives {""}
std::string join(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace tandem
