/// Networks of golden/parameter_counts.json: the golden runner counts their parameters.
#include <catch2/catch.hpp>
#include <fstream>

#include "golden.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/models/wide_resnet.hpp"

namespace qdistill_test {

namespace {

template <class Make>
bool counted(const char* network, Make make) {
  return golden_count(network, [make] {
    Index count = 0;
    {
      const nn::init::Skip skip;  // up to 146 million weights, which nobody looks at
      count = make().parameter_count();
    }
    release_cached_memory();
    return count;
  });
}
bool polino(const char* network, models::PolinoSpec (*spec)()) {
  return counted(network, [spec] { return models::polino_cnn<float>(spec()); });
}
bool wide(const char* network, Index depth, Index factor, Index classes) {
  return counted(network, [=] {
    return models::wide_resnet<float>({.depth = depth, .widen_factor = factor, .classes = classes});
  });
}
bool residual(const char* network, models::ResNetSpec (*spec)(double), double width) {
  return counted(network, [=] { return models::resnet<float>(spec(width)); });
}

const bool all_counted[] = {polino("cifar10_teacher", models::polino_teacher),
                            polino("cifar10_student1", models::polino_student_1),
                            polino("cifar10_student2", models::polino_student_2),
                            polino("cifar10_student3", models::polino_student_3),
                            polino("cifar10_deeper_student", models::polino_deeper_student),
                            wide("wrn_28_20_classes10", 28, 20, 10),
                            wide("wrn_22_16_classes10", 22, 16, 10),
                            wide("wrn_16_22_classes10", 16, 22, 10),
                            wide("wrn_28_10_classes100", 28, 10, 100),
                            wide("wrn_28_20_classes100", 28, 20, 100),
                            wide("wrn_22_8_classes100", 22, 8, 100),
                            wide("wrn_16_10_classes100", 16, 10, 100),
                            residual("resnet18", models::resnet18, 1),
                            residual("resnet18_x2", models::resnet18, 2),
                            residual("resnet18_x1.5", models::resnet18, 1.5),
                            residual("resnet34", models::resnet34, 1),
                            residual("resnet34_x2", models::resnet34, 2),
                            residual("resnet50", models::resnet50, 1)};

}  // namespace

TEST_CASE("every network of parameter_counts.json is counted", "[models]") {
  std::ifstream in(golden_dir() + "/parameter_counts.json");
  const auto counts = nlohmann::json::parse(in).at("counts");
  CHECK(counts.size() == std::size(all_counted));
  for (const auto& [network, expected] : counts.items()) {
    INFO(network << ", " << expected << " parameters");
    CHECK(golden_counts().count(network) == 1);
  }
}

}  // namespace qdistill_test
