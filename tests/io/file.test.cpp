#include "qdistill/io/file.hpp"

#include <catch2/catch.hpp>

#include "qdistill/io/atomic_file.hpp"
#include "temporary_folder.hpp"
#if QDISTILL_POSIX
#include <sys/wait.h>

#include <csignal>
#include <ctime>
#endif

using namespace qdistill;

namespace {

std::string content(const std::string& path) {
  const auto bytes = io::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("write_file creates and replaces, and leaves nothing beside", "[io]") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.bin";
  io::write_file(path, std::string_view("first"));
  CHECK(content(path) == "first");
  const std::string a = "sec", b = "ond";
  const std::vector<std::span<const std::byte>> parts{
      std::as_bytes(std::span<const char>(a)), {}, std::as_bytes(std::span<const char>(b))};
  io::write_file(path, parts);
  CHECK(content(path) == "second");
  io::write_file(path, std::string_view());
  CHECK(content(path).empty());
  CHECK(folder.files() == 1);
}

TEST_CASE("write_file follows a symbolic link", "[io]") {
  const TemporaryFolder folder;
  io::write_file(folder / "real", std::string_view("old"));
  std::filesystem::create_symlink("real", folder / "link");
  io::write_file(folder / "link", std::string_view("new"));
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(content(folder / "real") == "new");
}

TEST_CASE("write_file refuses a folder and a missing folder, and keeps the old file", "[io]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(io::write_file(folder.path.string(), std::string_view("x")), FileError);
  CHECK_THROWS_AS(io::write_file(folder / "missing/a.bin", std::string_view("x")), FileError);
  CHECK(folder.files() == 0);
}

TEST_CASE("read_file refuses what is missing, no file, or too large", "[io]") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.bin";
  CHECK_THROWS_WITH(io::read_file(path), "[read_file] " + path + ": no such file");
  CHECK_THROWS_AS(io::read_file(folder.path.string()), FileError);
  io::write_file(path, std::string_view("12345"));
  CHECK(io::read_file(path, 5).size() == 5);
  CHECK_THROWS_WITH(io::read_file(path, 4), "[read_file] " + path + ": got 5 bytes, expected at most 4");
}

#if QDISTILL_POSIX
TEST_CASE("write_file leaves a whole file when its process is killed at any moment", "[io]") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.bin", a(100'000, 'a'), b(150'000, 'b');
  io::write_file(path, std::string_view(a));
  for (int trial = 0; trial < 8; ++trial) {
    const pid_t writer = ::fork();
    REQUIRE(writer >= 0);
    if (writer == 0) {
      try {
        for (int i = 0;; ++i) io::write_file(path, std::string_view(i % 2 ? a : b));
      } catch (...) {
        ::_exit(1);
      }
    }
    const timespec pause{0, 1'000'000 + trial * 700'000};
    ::nanosleep(&pause, nullptr);
    ::kill(writer, SIGKILL);
    int status = 0;
    ::waitpid(writer, &status, 0);
    CHECK(WIFSIGNALED(status));
    const std::string now = content(path);
    CHECK((now == a || now == b));
  }
}
#endif
