// Which parameters of a trainer are its teacher's: a net of its own beside the run's, with the same
// names behind a prefix.
#pragma once

#include <string>

namespace tandem {

inline constexpr char kTeacherPrefix[] = "teacher.";

inline std::string teachers_name(const std::string& parameter) {
  return kTeacherPrefix + parameter;
}
inline bool is_teachers(const std::string& parameter) {
  return parameter.rfind(kTeacherPrefix, 0) == 0;
}

}  // namespace tandem
