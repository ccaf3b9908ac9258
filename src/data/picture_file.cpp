#include "data/picture_file.h"

#include <fmt/format.h>
#include <jpeglib.h>  // after <cstdio>, which it needs
#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstdio>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"

namespace tandem {
namespace {

constexpr std::int64_t kMostPixels = std::int64_t{1} << 28;  // of one picture

[[noreturn]] void refuse(const std::string& path, const std::string& found) {
  throw DataError(
      fmt::format("{}: expected a PNG or JPEG picture, found {}. Replace the file, or take it away",
                  path, found));
}

// Rows of pixels, each with all of its channels, to channels of rows.
PictureFile by_channel(const std::vector<std::uint8_t>& rows, std::int64_t channels,
                       std::int64_t height, std::int64_t width) {
  PictureFile picture{channels, height, width, std::vector<std::uint8_t>(rows.size())};
  const std::int64_t area = height * width;
  for (std::int64_t i = 0; i < area; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      picture.pixels[static_cast<std::size_t>(c * area + i)] =
          rows[static_cast<std::size_t>(i * channels + c)];
    }
  }
  return picture;
}

void expect_size(const std::string& path, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || height > kMostPixels / width)
    refuse(path, fmt::format("{}x{} pixels", height, width));
}

PictureFile read_png(const std::string& path, const std::string& bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0)
    refuse(path, std::string("a damaged PNG: ") + image.message);
  const bool colour = (image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  const bool alpha = (image.format & PNG_FORMAT_FLAG_ALPHA) != 0;
  try {
    expect_size(path, image.height, image.width);
  } catch (...) {
    png_image_free(&image);
    throw;
  }
  // With its alpha channel read and dropped: a format without one would mix in a background.
  image.format = colour ? (alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB)
                        : (alpha ? PNG_FORMAT_GA : PNG_FORMAT_GRAY);
  const std::int64_t stored = PNG_IMAGE_SAMPLE_CHANNELS(image.format);
  const std::int64_t height = image.height, width = image.width;
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(stored * height * width));
  if (png_image_finish_read(&image, nullptr, rows.data(), 0, nullptr) == 0) {
    const std::string why = image.message;
    png_image_free(&image);
    refuse(path, "a damaged PNG: " + why);
  }
  PictureFile picture = by_channel(rows, stored, height, width);
  picture.channels = colour ? 3 : 1;
  picture.pixels.resize(static_cast<std::size_t>(picture.channels * height * width));
  return picture;
}

struct JpegError {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void jump_back(j_common_ptr info) {
  auto* error = reinterpret_cast<JpegError*>(info->err);
  info->err->format_message(info, error->message);
  std::longjmp(error->back, 1);
}

// Warnings of libjpeg are of files that are damaged, and end the reading as well.
void warn_as_error(j_common_ptr info, int level) {
  if (level < 0) jump_back(info);
}

// All that libjpeg's error would jump over without a destructor stands outside: a plain function of
// plain values. Returns whether all rows were read.
bool decode_jpeg(const std::string& bytes, JpegError& error, jpeg_decompress_struct& info,
                 std::vector<std::uint8_t>& rows, std::int64_t most_pixels) {
  if (setjmp(error.back) != 0) return false;
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  info.dct_method = JDCT_ISLOW;  // the same bits wherever it runs
  jpeg_start_decompress(&info);
  const auto width = static_cast<std::int64_t>(info.output_width);
  const auto height = static_cast<std::int64_t>(info.output_height);
  if (width < 1 || height < 1 || height > most_pixels / width) return false;
  const auto stride = static_cast<std::size_t>(width * info.output_components);
  rows.resize(stride * static_cast<std::size_t>(height));
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = rows.data() + stride * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  return true;
}

PictureFile read_jpeg(const std::string& path, const std::string& bytes) {
  jpeg_decompress_struct info{};
  JpegError error{};
  info.err = jpeg_std_error(&error.base);
  error.base.error_exit = jump_back;
  error.base.emit_message = warn_as_error;
  std::vector<std::uint8_t> rows;
  const bool whole = decode_jpeg(bytes, error, info, rows, kMostPixels);
  const std::int64_t channels = info.output_components, height = info.output_height,
                     width = info.output_width;
  jpeg_destroy_decompress(&info);
  if (!whole)
    refuse(path, std::string("a damaged JPEG: ") +
                     (error.message[0] != 0 ? error.message : "too many pixels"));
  return by_channel(rows, channels, height, width);
}

}  // namespace

PictureFile read_picture(const std::string& path) {
  const std::string bytes = read_file(path);
  if (bytes.rfind("\x89PNG\r\n\x1a\n", 0) == 0) return read_png(path, bytes);
  if (bytes.rfind("\xff\xd8\xff", 0) == 0) return read_jpeg(path, bytes);
  refuse(path, "another beginning");
}

bool names_picture(const std::string& path) {
  std::string ending = std::filesystem::path(path).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

}  // namespace tandem
