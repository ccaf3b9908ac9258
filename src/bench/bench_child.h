// Measurements in processes of their own, so that memory and cores are theirs alone. A child is
// this program with the same benchmark's name and its work in the environment; it prints numbers on
// one line.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace tandem {

struct BenchChild {
  std::FILE* pipe = nullptr;
};
BenchChild start_child(const std::string& bench, const std::string& work);
// Waits for it. Throws DeviceError where it fails or says nothing.
std::vector<double> numbers_of(BenchChild child);
// Returns the words of its work in a child, and nothing elsewhere.
std::vector<std::string> work_of_child();

// The time and the largest memory of a command of the program beside this one, whose output is
// thrown away. Throws DeviceError where it fails.
struct ProgramCost {
  double seconds = 0, megabytes = 0;
};
ProgramCost cost_of_program(const std::vector<std::string>& arguments);

// Bytes of this process by a line of /proc/self/status: "VmRSS:" now, "VmHWM:" the most since the
// last forget_peak().
double memory_now(const char* what);
void forget_peak();

}  // namespace tandem
