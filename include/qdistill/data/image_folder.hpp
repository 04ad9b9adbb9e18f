/// Folders of JPEG and PNG files as a dataset, laid out as for torchvision's ImageFolder: one folder for each class,
/// its label being its place among the sorted names, with the images anywhere below it.
///
///   data::ImageFolder train("imagenette/train", {.fit = data::RandomResizedCrop{}});
///   data::ImageFolder val("imagenette/val");  // short side to 256, the central 224 x 224
///   data::DataLoader loader(train, {.shuffle = true, .augment = data::imagenet_augment,
///                                   .normalize = data::imagenet_normalize(), .seed = 1});
///
/// Files are decoded when a batch asks for them, on the loader's threads; no image stays in memory. A program that uses
/// this links qdistill::images (image_file.hpp). Order is by bytes, of folders' paths first and files in them second,
/// so it is the same everywhere. A file that is no image, cut, damaged or too large is refused with its name when it is
/// read, or left out, with its name in skipped().
#pragma once

#include <filesystem>
#include <map>

#include "qdistill/core/parallel.hpp"
#include "qdistill/data/dataset.hpp"
#include "qdistill/data/files.hpp"
#include "qdistill/data/image_resize.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// What becomes of images that cannot be read.
enum class BadImages {
  refuse,  ///< FileError when the image is asked for
  skip     ///< every file is decoded once by the constructor (in parallel), and those that fail are left out
};

struct ImageFolderOptions {
  Index height = 224;  ///< of the images that come out
  Index width = 224;
  ImageFit fit = ResizeCenterCrop{256};
  BadImages bad = BadImages::refuse;
  ImageLimits limits{};
};

/// A file that was left out, and why.
struct BadImage {
  std::string path;
  std::string reason;
};

namespace detail {

/// A file by its name. What is no regular file (a broken link, a pipe) must not be opened.
struct FolderFile {
  std::string name;
  bool regular;
};
/// The images in each folder below a class, in the order of the folders' paths.
using FolderFiles = std::map<std::string, std::vector<FolderFile>>;

/// Lower-case extension, with its dot.
inline std::string image_extension(const std::string& name) {
  const auto dot = name.rfind('.');
  std::string e = dot == std::string::npos ? std::string() : name.substr(dot);
  for (char& c : e) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return e;
}

/// The entries of a folder. Throws FileError naming what cannot be looked at.
template <class F>
void each_entry(const std::filesystem::path& folder, F&& f) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const fs::file_status status = fs::status(it->path(), error);
    // A link to nothing is an entry as any other; one that cannot be followed is not.
    if (error && status.type() != fs::file_type::not_found)
      fail<FileError>("image_folder", it->path().string(), ": ", error.message());
    error.clear();
    f(it->path(), status);
  }
  check<FileError>(!error, "image_folder", folder.string(), ": cannot be listed: ", error.message());
}

/// Collects the images below `folder`, through links. `above`: where the folders lie that lead here, to tell a link
/// back into one of them.
inline void collect_images(const std::filesystem::path& folder, std::vector<std::filesystem::path>& above,
                           FolderFiles& found) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path real = fs::canonical(folder, error);
  check<FileError>(!error, "image_folder", folder.string(), ": ", error.message());
  check<FileError>(std::find(above.begin(), above.end(), real) == above.end(), "image_folder", folder.string(),
                   ": a link back to ", real.string(), ", in which it lies");
  above.push_back(real);
  std::vector<fs::path> folders;
  each_entry(folder, [&](const fs::path& path, const fs::file_status& status) {
    if (status.type() == fs::file_type::directory) {
      folders.push_back(path);
      return;
    }
    constexpr std::string_view extensions[] = {".jpg", ".jpeg", ".png",  ".bmp", ".ppm",
                                               ".pgm", ".tif",  ".tiff", ".webp"};
    std::string name = path.filename().string();
    if (std::find(std::begin(extensions), std::end(extensions), image_extension(name)) != std::end(extensions))
      found[folder.string()].push_back({std::move(name), status.type() == fs::file_type::regular});
  });
  for (const fs::path& path : folders) collect_images(path, above, found);
  above.pop_back();
}

}  // namespace detail

/// The images of a folder. Reading is const and may be done by several threads.
class ImageFolder {
 public:
  /// Lists the files. Extensions: .jpg, .jpeg, .png in any case, told apart by content. torchvision's others (.bmp,
  /// .ppm, .pgm, .tif, .tiff, .webp) count as bad images; further files are ignored. Throws FileError for a folder that
  /// cannot be listed, a link back to where it lies, no class or a class without images; ValueError as check_fit.
  explicit ImageFolder(const std::string& directory, ImageFolderOptions options = {})
      : directory_(directory), options_(std::move(options)) {
    check_fit(options_.fit, options_.height, options_.width);
    namespace fs = std::filesystem;
    std::vector<fs::path> classes;
    detail::each_entry(directory, [&](const fs::path& path, const fs::file_status& status) {
      if (status.type() == fs::file_type::directory) classes.push_back(path);
    });
    check<FileError>(!classes.empty(), "image_folder", directory, ": no folder in it, expected one for each class");
    detail::check_classes("image_folder", static_cast<Index>(classes.size()));
    std::sort(classes.begin(), classes.end(),
              [](const fs::path& a, const fs::path& b) { return a.filename().native() < b.filename().native(); });
    std::error_code error;
    std::vector<fs::path> above{fs::canonical(directory, error)};
    for (const fs::path& path : classes) {
      class_names_.push_back(path.filename().string());
      detail::FolderFiles found;
      detail::collect_images(path, above, found);
      for (auto& [folder, files] : found) {
        std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
        for (const auto& file : files)
          images_.push_back({detail::join(folder, file.name.c_str()),
                             static_cast<std::int32_t>(class_names_.size() - 1), file.regular});
      }
    }
    if (options_.bad == BadImages::skip) leave_out_bad();
    check_every_class();
  }

  Index size() const noexcept { return static_cast<Index>(images_.size()); }
  ImageShape shape() const noexcept { return {3, options_.height, options_.width}; }
  Index classes() const noexcept { return static_cast<Index>(class_names_.size()); }
  Index label(Index i) const { return at(i).label; }
  /// The names of the class folders, by label.
  const std::vector<std::string>& class_names() const noexcept { return class_names_; }
  const std::string& path(Index i) const { return at(i).path; }
  /// The files that were left out, in order.
  const std::vector<BadImage>& skipped() const noexcept { return skipped_; }
  const ImageFolderOptions& options() const noexcept { return options_; }
  bool draws() const noexcept { return std::holds_alternative<RandomResizedCrop>(options_.fit); }

  /// Image i as its file holds it. Throws FileError.
  RgbImage decode(Index i) const { return decode_file(at(i)); }

  /// Image i, resized and cropped, as 3 * height * width bytes in `buffer`. Throws FileError.
  ImagePixels image(Index i, const DrawKey& key, std::vector<std::uint8_t>& buffer) const {
    const RgbImage image = decode(i);
    const RandomStream random{detail::derive_seed(key.seed, static_cast<std::uint64_t>(key.epoch)),
                              static_cast<std::uint64_t>(i)};
    buffer.resize(static_cast<std::size_t>(shape().numel()));
    resize_image(image, resize_for(options_.fit, image.height, image.width, options_.height, options_.width, random),
                 buffer.data());
    return {buffer.data(), nullptr};
  }

 private:
  struct Image {
    std::string path;
    std::int32_t label;
    bool regular;
  };

  const Image& at(Index i) const {
    check(i >= 0 && i < size(), "image_folder", "got image ", i, ", expected 0 to ", size() - 1);
    return images_[static_cast<std::size_t>(i)];
  }

  RgbImage decode_file(const Image& image) const {
    check<FileError>(image.regular, "image", image.path, ": not a regular file");  // opening a pipe would wait for ever
    const auto most = options_.limits.file_bytes;
    const auto bytes = detail::read_file(
        "image", image.path, "HINT: BadImages::skip leaves such files out",
        [&](Index n) { check<FileError>(n <= most, "image", image.path, ": ", n, " bytes, expected at most ", most); });
    return decode_image(bytes, image.path, options_.limits);
  }

  void leave_out_bad() {
    std::vector<std::string> reasons(images_.size());
    parallel_for(size(), 1, [&](Index begin, Index) {
      const auto i = static_cast<std::size_t>(begin);
      try {
        decode_file(images_[i]);
      } catch (const FileError& e) {
        reasons[i] = e.what();
      }
    });
    std::vector<Image> good;
    for (std::size_t i = 0; i < images_.size(); ++i) {
      if (reasons[i].empty()) good.push_back(std::move(images_[i]));
      else skipped_.push_back({std::move(images_[i].path), std::move(reasons[i])});
    }
    images_ = std::move(good);
  }

  void check_every_class() const {
    std::vector<char> seen(class_names_.size(), 0);
    for (const Image& image : images_) seen[static_cast<std::size_t>(image.label)] = 1;
    for (std::size_t c = 0; c < seen.size(); ++c)
      check<FileError>(seen[c] != 0, "image_folder", detail::join(directory_, class_names_[c].c_str()),
                       ": no image in it that can be read, expected .jpg, .jpeg or .png files. ", skipped_.size(),
                       " files were left out", skipped_.empty() ? "" : ", the first for this: ",
                       skipped_.empty() ? std::string() : skipped_.front().reason);
  }

  std::string directory_;
  ImageFolderOptions options_;
  std::vector<std::string> class_names_;
  std::vector<Image> images_;
  std::vector<BadImage> skipped_;
};

}  // namespace qdistill::inline QDISTILL_ABI::data
