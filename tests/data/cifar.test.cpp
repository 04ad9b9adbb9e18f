#include "qdistill/data/cifar.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "error_of.hpp"
#include "temp_dir.hpp"

using namespace qdistill;
using Bytes = std::vector<std::uint8_t>;
using Catch::Matchers::Contains;
using qdistill_test::error_of;

namespace {

/// Records whose pixels are a function of (record, position).
Bytes cifar10_records(int count, int first_label = 0) {
  Bytes out;
  for (int r = 0; r < count; ++r) {
    out.push_back(static_cast<std::uint8_t>((first_label + r) % 10));
    for (int i = 0; i < 3072; ++i) out.push_back(static_cast<std::uint8_t>((r * 31 + i * 7) % 251));
  }
  return out;
}

Bytes cifar100_records(int count) {
  Bytes out;
  for (int r = 0; r < count; ++r) {
    out.push_back(static_cast<std::uint8_t>(r % 100 / 5));
    out.push_back(static_cast<std::uint8_t>(r % 100));
    for (int i = 0; i < 3072; ++i) out.push_back(static_cast<std::uint8_t>((r + i) % 256));
  }
  return out;
}

}  // namespace

TEST_CASE("cifar10 records keep labels, planes and order", "[data][cifar]") {
  const data::ImageSet set = data::parse_cifar10(cifar10_records(12, 3), "memory");
  REQUIRE(set.size() == 12);
  CHECK(set.shape() == data::ImageShape{3, 32, 32});
  CHECK(set.classes() == 10);
  CHECK(set.class_names.size() == 10);
  for (int r = 0; r < 12; ++r) {
    CHECK(set.label(r) == (3 + r) % 10);
    for (const int i : {0, 1, 1023, 1024, 2048, 3071})
      CHECK(int{set.image(r)[static_cast<std::size_t>(i)]} == (r * 31 + i * 7) % 251);
  }
  CHECK(set.image(12).empty());
  CHECK(set.image(-1).empty());
}

TEST_CASE("cifar10 refuses what is not a whole number of records", "[data][cifar]") {
  const Bytes whole = cifar10_records(2);
  for (const std::size_t n : {0u, 1u, 2u, 1000u, 3072u, 3074u, 4000u, 6145u}) {
    const std::string m = error_of<FileError>([&] { data::parse_cifar10({whole.data(), n}, "dir/test_batch.bin"); });
    CHECK_THAT(m, Contains("[cifar10] dir/test_batch.bin: " + std::to_string(n) + " bytes, expected 30730000"));
    CHECK_THAT(m, Contains("HINT: run data/cifar10.sh"));
  }
  CHECK_THAT(error_of<FileError>([&] {
               data::parse_cifar10({whole.data(), 4000}, "f");
             }),
             Contains("begins at byte 3073 is cut"));
  CHECK(data::parse_cifar10({whole.data(), 3073}, "f").size() == 1);
}

TEST_CASE("cifar10 names the place of a wrong label", "[data][cifar]") {
  Bytes bytes = cifar10_records(5);
  bytes[3073 * 3] = 10;
  CHECK_THAT(error_of<FileError>([&] { data::parse_cifar10(bytes, "b.bin"); }),
             Contains("[cifar10] b.bin: label 10 at byte 9219, expected 0 to 9"));
  bytes[3073 * 3] = 255;
  CHECK_THROWS_AS(data::parse_cifar10(bytes, "b.bin"), FileError);
}

TEST_CASE("cifar100 reads fine labels and checks both", "[data][cifar]") {
  const Bytes good = cifar100_records(200);
  const data::ImageSet set = data::parse_cifar100(good, "train.bin");
  REQUIRE(set.size() == 200);
  CHECK(set.classes() == 100);
  CHECK(set.label(57) == 57);
  CHECK(int{set.image(57)[3071]} == (57 + 3071) % 256);

  Bytes bad = good;
  bad[3074 * 4] = 20;
  CHECK_THAT(error_of<FileError>([&] { data::parse_cifar100(bad, "f"); }),
             Contains("[cifar100] f: coarse label 20 at byte 12296, expected 0 to 19"));
  bad = good;
  bad[3074 * 4 + 1] = 100;
  CHECK_THAT(error_of<FileError>([&] { data::parse_cifar100(bad, "f"); }),
             Contains("fine label 100 at byte 12297, expected 0 to 99"));
  bad = good;
  bad[3074 * 110] = 3;  // record 10 of the same fine class said 2
  CHECK_THAT(error_of<FileError>([&] { data::parse_cifar100(bad, "f"); }),
             Contains("coarse label 3 at byte 338140, expected 2"));
  // A CIFAR-10 file under this name.
  CHECK_THROWS_AS(data::parse_cifar100(cifar10_records(100), "f"), FileError);
}

TEST_CASE("cifar files are read from a folder, in the order of their numbers", "[data][cifar]") {
  const test::TempDir dir;
  dir.write("data_batch_1.bin", cifar10_records(10, 0));
  dir.write("test_batch.bin", cifar10_records(4, 5));
  data::ImageSet train = data::read_cifar10(dir.path(), data::Split::train);
  CHECK(train.size() == 10);
  CHECK(train.name == "cifar10 train");
  CHECK(data::read_cifar10(dir.path() + "/", data::Split::test).size() == 4);

  dir.write("data_batch_2.bin", cifar10_records(3, 7));
  train = data::read_cifar10(dir.path(), data::Split::train);
  REQUIRE(train.size() == 13);
  CHECK(train.label(10) == 7);

  SECTION("a gap in the numbers is refused") {
    dir.write("data_batch_4.bin", cifar10_records(3));
    const std::string m = error_of<FileError>([&] { data::read_cifar10(dir.path(), data::Split::train); });
    CHECK_THAT(m, Contains("data_batch_3.bin: missing, while data_batch_4.bin is there"));
  }
  SECTION("an empty file is refused with its name") {
    dir.write("data_batch_2.bin", {});
    const std::string m = error_of<FileError>([&] { data::read_cifar10(dir.path(), data::Split::train); });
    CHECK_THAT(m, Contains("data_batch_2.bin: 0 bytes, expected 30730000"));
  }
  SECTION("a folder in a file's place is refused") {
    dir.make_directory("data_batch_3.bin");
    const std::string m = error_of<FileError>([&] { data::read_cifar10(dir.path(), data::Split::train); });
    CHECK_THAT(m, Contains("data_batch_3.bin"));
  }
  SECTION("what is missing is named") {
    const std::string m = error_of<FileError>([&] { data::read_cifar10(dir.file("no"), data::Split::test); });
    CHECK_THAT(m, Contains("no/test_batch.bin: cannot be opened") && Contains("HINT: run data/cifar10.sh"));
    CHECK_THROWS_AS(data::read_cifar100(dir.path(), data::Split::train), FileError);
  }
  SECTION("cifar100") {
    dir.write("train.bin", cifar100_records(100));
    dir.write("test.bin", cifar100_records(7));
    CHECK(data::read_cifar100(dir.path(), data::Split::train).size() == 100);
    CHECK(data::read_cifar100(dir.path(), data::Split::test).size() == 7);
    dir.write("test.bin", {});
    CHECK_THAT(error_of<FileError>([&] { data::read_cifar100(dir.path(), data::Split::test); }),
               Contains("test.bin: 0 bytes, expected 30740000"));
  }
}

TEST_CASE("random bytes never pass for more than their labels allow", "[data][cifar]") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const RandomStream random{seed, 0};
    Bytes bytes = seed % 2 ? cifar10_records(3) : cifar100_records(3);
    bytes.erase(bytes.end() - Index{random.below(0, 3)} * 1536, bytes.end());
    for (std::uint64_t k = 1; k < 6; ++k)
      bytes[random.below(k, static_cast<std::uint32_t>(bytes.size()))] = static_cast<std::uint8_t>(random.bits(k + 10));
    const auto read = [&](auto parse) {
      try {
        const data::ImageSet set = parse(bytes, "f");
        for (Index i = 0; i < set.size(); ++i) REQUIRE((set.label(i) >= 0 && set.label(i) < set.classes()));
        REQUIRE(set.pixels.size() == set.labels.size() * 3072);
      } catch (const FileError& e) {
        REQUIRE_THAT(e.what(), Contains("f: "));
      }
    };
    read([](const Bytes& b, const char* f) { return data::parse_cifar10(b, f); });
    read([](const Bytes& b, const char* f) { return data::parse_cifar100(b, f); });
  }
}

TEST_CASE("the real CIFAR-10", "[data][cifar]") {
  const char* dir = std::getenv("QDISTILL_CIFAR10_DIR");
  if (!dir || !*dir) {
    WARN("skipped: set QDISTILL_CIFAR10_DIR to a folder with the official binary files to check them");
    return;
  }
  for (const data::Split split : {data::Split::train, data::Split::test}) {
    const data::ImageSet set = data::read_cifar10(dir, split);
    CHECK(set.size() % 10 == 0);
    std::vector<Index> count(10);
    for (Index i = 0; i < set.size(); ++i) ++count[static_cast<std::size_t>(set.label(i))];
    for (const Index n : count) CHECK(n == set.size() / 10);
  }
}
