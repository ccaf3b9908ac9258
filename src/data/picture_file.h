// One PNG or JPEG file, decoded by libpng or libjpeg-turbo.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

struct PictureFile {
  std::int64_t channels = 1, height = 0, width = 0;  // channels: 1 grey, 3 colour
  std::vector<std::uint8_t> pixels;                  // [channels, height, width]
};

// By its first bytes, not by its name. Transparency is dropped, more than 8 bits a channel are
// rounded to 8. Throws DataError for anything else (a JPEG in CMYK too) and for a damaged file.
PictureFile read_picture(const std::string& path);

// A name that ends as such files do: .png, .jpg or .jpeg, in small letters or capitals.
bool names_picture(const std::string& path);

}  // namespace tandem
