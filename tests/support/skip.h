// Catch2 2.13 has no SKIP. A case that can't run on this machine says why and returns:
//   if (folder.empty()) return skip("MNIST was not found; set TANDEM_DATA ...");
// A test program in which some case was skipped and none failed ends with kSkipped, which CTest
// counts as skipped, not as passed; a failure stays a failure.
#pragma once

#include <string>

namespace tandem::test {

constexpr int kSkipped = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt

// Prints a line that begins with "SKIPPED: ".
void skip(const std::string& reason);

}  // namespace tandem::test
