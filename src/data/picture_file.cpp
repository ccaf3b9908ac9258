#include "data/picture_file.h"

#include <fmt/format.h>
#include <jpeglib.h>  // after <cstdio>, which it needs
#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstdio>
#include <filesystem>
#include <new>

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

struct PngBytes {
  const std::string& bytes;
  std::size_t at = 0;
};

void give_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* from = static_cast<PngBytes*>(png_get_io_ptr(png));
  if (count > from->bytes.size() - from->at) png_error(png, "it is cut");
  std::copy_n(from->bytes.begin() + static_cast<std::ptrdiff_t>(from->at), count, to);
  from->at += count;
}

void say_nothing(png_structp, png_const_charp) {}

struct PngError {
  std::jmp_buf back;
  std::string message;
};

[[noreturn]] void jump_back_png(png_structp png, png_const_charp message) {
  auto* error = static_cast<PngError*>(png_get_error_ptr(png));
  error->message = message;
  std::longjmp(error->back, 1);
}

struct PngPicture {
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> rows;
  std::vector<png_bytep> starts;
};

// Plain values alone stand where libpng's error jumps over them. Values are as they are stored: no
// gamma is applied, 16 bits are rounded to 8.
bool decode_png(png_structp png, png_infop info, PngError& error, PngPicture& picture) {
  if (setjmp(error.back) != 0) return false;
  png_read_info(png, info);
  picture.height = png_get_image_height(png, info);
  picture.width = png_get_image_width(png, info);
  if (picture.height < 1 || picture.width < 1 || picture.height > kMostPixels / picture.width)
    png_error(png, "too many pixels");
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  picture.channels = png_get_channels(png, info);
  const std::size_t stride = png_get_rowbytes(png, info);
  picture.rows.resize(stride * static_cast<std::size_t>(picture.height));
  picture.starts.resize(static_cast<std::size_t>(picture.height));
  for (std::size_t y = 0; y < picture.starts.size(); ++y) {
    picture.starts[y] = picture.rows.data() + y * stride;
  }
  png_read_image(png, picture.starts.data());
  png_read_end(png, nullptr);
  return true;
}

PictureFile read_png(const std::string& path, const std::string& bytes) {
  PngError error;
  png_structp png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &error, jump_back_png, say_nothing);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  if (info == nullptr) {
    png_destroy_read_struct(&png, nullptr, nullptr);
    throw std::bad_alloc();
  }
  PngBytes from{bytes};
  png_set_read_fn(png, &from, give_bytes);
  PngPicture picture;
  const bool whole = decode_png(png, info, error, picture);
  png_destroy_read_struct(&png, &info, nullptr);
  if (!whole) refuse(path, "a damaged PNG: " + error.message);
  return by_channel(picture.rows, picture.channels, picture.height, picture.width);
}

// Of CMYK, whose way to RGB is a matter of ink and paper that files leave open.
constexpr int kInks = 4;

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
  if (info.num_components == kInks) return false;
  // Before anything is made room for, by what the header claims.
  if (info.image_width < 1 || info.image_height < 1 ||
      static_cast<std::int64_t>(info.image_height) >
          most_pixels / static_cast<std::int64_t>(info.image_width))
    return false;
  info.out_color_space = info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  info.dct_method = JDCT_ISLOW;  // the same bits wherever it runs
  jpeg_start_decompress(&info);
  const auto width = static_cast<std::int64_t>(info.output_width);
  const auto height = static_cast<std::int64_t>(info.output_height);
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
  if (!whole && error.message[0] == 0 && info.num_components == kInks)
    refuse(path, "a JPEG in CMYK, which is not read: save it in RGB or grey");
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
