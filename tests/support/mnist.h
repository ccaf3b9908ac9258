// Where MNIST lies, for tests of published protocols.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace tandem::test {

constexpr char kNoMnist[] =
    "MNIST was not found; set TANDEM_DATA to the folder that holds train-images-idx3-ubyte.gz and "
    "its three companions";

// "" where it is not found.
inline std::string mnist_folder() {
  const char* given = std::getenv("TANDEM_DATA");
  const std::string folder = given != nullptr ? given : "";
  for (const char* below : {"/", "/mnist/"}) {
    const std::string images = folder + below + "train-images-idx3-ubyte.gz";
    if (!folder.empty() && std::filesystem::exists(images)) return folder;
  }
  return "";
}

}  // namespace tandem::test
