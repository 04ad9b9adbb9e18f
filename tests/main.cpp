/// Runs the tests. Each test also gets the tag [folder:NAME] after the folder of tests/ that its file lies in, by which
/// CTest runs and reports one folder at a time. A test that leaves graph nodes behind makes the run fail.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "qdistill/autograd/node.hpp"

namespace {

int tests_that_leak = 0;

struct LiveNodes final : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const auto live = qdistill::live_nodes();
    if (live == before_) return;
    std::fprintf(stderr, "%s: %lld graph nodes were left behind, expected none\n", stats.testInfo.name.c_str(),
                 static_cast<long long>(live - before_));
    before_ = live, ++tests_that_leak;
  }

 private:
  decltype(qdistill::live_nodes()) before_ = 0;
};
CATCH_REGISTER_LISTENER(LiveNodes)

/// "ops" for ".../tests/ops/softmax.case.hpp", "" outside of a folder of tests/.
std::string folder_of(std::string_view file) {
  const std::string_view root = "tests/";
  const auto at = file.rfind(root);
  if (at == std::string_view::npos) return {};
  const std::string_view below = file.substr(at + root.size());
  const auto slash = below.find('/');
  return slash == std::string_view::npos ? std::string{} : std::string(below.substr(0, slash));
}

void tag_by_folder() {
  for (const Catch::TestCase& test : Catch::getRegistryHub().getTestCaseRegistry().getAllTests()) {
    // The runner itself adds the tags of --filenames-as-tags in this way.
    auto& mutable_test = const_cast<Catch::TestCase&>(test);
    std::vector<std::string> tags = test.tags;
    tags.push_back("folder:" + folder_of(test.lineInfo.file));
    Catch::setTags(mutable_test, tags);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Catch::Session session;
  const int bad_arguments = session.applyCommandLine(argc, argv);
  if (bad_arguments != 0) return bad_arguments;
  tag_by_folder();
  const int failed = session.run();
  return failed != 0 ? failed : tests_that_leak > 0 ? 1 : 0;
}
